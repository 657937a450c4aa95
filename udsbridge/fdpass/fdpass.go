// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package fdpass

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// MaxFiles is the greatest number of descriptors a message may carry.
const MaxFiles = 16

// ErrTruncated says that a message was longer, or had more descriptors, than the
// receiver was ready for. Nothing of such a message is kept.
var ErrTruncated = errors.New("message truncated")

// Send sends b and the descriptors of files as one message. The files stay open
// and the caller's. b must not be empty, since the kernel passes descriptors
// only along with data.
//
// The connection's write deadline holds. Concurrent calls are safe on
// SOCK_SEQPACKET sockets.
func Send(c *net.UnixConn, b []byte, files ...*os.File) error {
	if len(b) == 0 {
		return errors.New("send message with descriptors: message is empty")
	}
	if len(files) > MaxFiles {
		return fmt.Errorf("send message with descriptors: %d descriptors, more than %d", len(files), MaxFiles)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, 0, len(files))
		for _, f := range files {
			raw, err := f.SyscallConn()
			if err != nil {
				return fmt.Errorf("send descriptor of %s: %w", f.Name(), err)
			}
			// The number stays valid after Control returns because runtime.KeepAlive
			// below keeps the file open; Fd would set it to blocking mode.
			if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
				return fmt.Errorf("send descriptor of %s: %w", f.Name(), err)
			}
		}
		oob = unix.UnixRights(fds...)
	}
	n, oobn, err := c.WriteMsgUnix(b, oob, nil)
	runtime.KeepAlive(files)
	if err != nil {
		return fmt.Errorf("send message with %d descriptors: %w", len(files), err)
	}
	if n != len(b) || oobn != len(oob) {
		return fmt.Errorf("send message with %d descriptors: %w", len(files), io.ErrShortWrite)
	}
	return nil
}

// Receive receives one message of at most maxBytes with at most maxFiles
// descriptors. The files are the caller's, are closed on exec, and are empty on
// error: whatever arrived with a message that is refused has been closed. At the
// end of the connection the error wraps io.EOF.
//
// The connection's read deadline holds.
func Receive(c *net.UnixConn, maxBytes, maxFiles int) ([]byte, []*os.File, error) {
	if maxBytes <= 0 || maxFiles < 0 || maxFiles > MaxFiles {
		return nil, nil, fmt.Errorf("receive message with descriptors: limits of %d bytes and %d descriptors are out of range", maxBytes, maxFiles)
	}
	// One byte more shows on a stream socket too that a message is too long. There
	// is room for every descriptor a message can carry, so that those that are too
	// many can be closed here instead of being lost in the kernel's bookkeeping.
	b := make([]byte, maxBytes+1)
	oob := make([]byte, unix.CmsgSpace(MaxFiles*4))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
	files, filesErr := parse(oob[:oobn])
	if err == nil {
		err = filesErr
	}
	if err == nil && n == 0 && oobn == 0 {
		err = io.EOF
	}
	if err == nil && (n > maxBytes || len(files) > maxFiles || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0) {
		err = fmt.Errorf("more than %d bytes or %d descriptors: %w", maxBytes, maxFiles, ErrTruncated)
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, nil, fmt.Errorf("receive message with descriptors: %w", err)
	}
	return b[:n], files, nil
}

// parse returns the descriptors of a control message as files, those before an
// error included.
func parse(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var files []*os.File
	for i := range messages {
		m := &messages[i]
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(m)
		if err != nil {
			return files, fmt.Errorf("parse descriptors: %w", err)
		}
		for _, fd := range fds {
			// The net package receives with MSG_CMSG_CLOEXEC; this holds even if it
			// ever did not.
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received descriptor"))
		}
	}
	return files, nil
}
