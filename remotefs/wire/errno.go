// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"io/fs"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Errno is an error number of the wire; 0 is no error. The numbers are those of
// Linux on most architectures, and the same on all.
type Errno uint32

// errnos has each error at its number of the wire.
var errnos = [...]unix.Errno{
	1: unix.EPERM, 2: unix.ENOENT, 3: unix.ESRCH, 4: unix.EINTR, 5: unix.EIO, 6: unix.ENXIO, 7: unix.E2BIG,
	8: unix.ENOEXEC, 9: unix.EBADF, 10: unix.ECHILD, 11: unix.EAGAIN, 12: unix.ENOMEM, 13: unix.EACCES,
	14: unix.EFAULT, 15: unix.ENOTBLK, 16: unix.EBUSY, 17: unix.EEXIST, 18: unix.EXDEV, 19: unix.ENODEV,
	20: unix.ENOTDIR, 21: unix.EISDIR, 22: unix.EINVAL, 23: unix.ENFILE, 24: unix.EMFILE, 25: unix.ENOTTY,
	26: unix.ETXTBSY, 27: unix.EFBIG, 28: unix.ENOSPC, 29: unix.ESPIPE, 30: unix.EROFS, 31: unix.EMLINK,
	32: unix.EPIPE, 33: unix.EDOM, 34: unix.ERANGE, 35: unix.EDEADLK, 36: unix.ENAMETOOLONG, 37: unix.ENOLCK,
	38: unix.ENOSYS, 39: unix.ENOTEMPTY, 40: unix.ELOOP, 61: unix.ENODATA, 62: unix.ETIME, 71: unix.EPROTO,
	74: unix.EBADMSG, 75: unix.EOVERFLOW, 84: unix.EILSEQ, 95: unix.EOPNOTSUPP, 103: unix.ECONNABORTED,
	104: unix.ECONNRESET, 105: unix.ENOBUFS, 107: unix.ENOTCONN, 110: unix.ETIMEDOUT, 111: unix.ECONNREFUSED,
	112: unix.EHOSTDOWN, 113: unix.EHOSTUNREACH, 115: unix.EINPROGRESS, 116: unix.ESTALE, 117: unix.EUCLEAN,
	121: unix.EREMOTEIO, 122: unix.EDQUOT, 123: unix.ENOMEDIUM, 125: unix.ECANCELED, 126: unix.ENOKEY,
	127: unix.EKEYEXPIRED, 128: unix.EKEYREVOKED, 129: unix.EKEYREJECTED,
}

var wireNumbers = func() map[unix.Errno]Errno {
	m := make(map[unix.Errno]Errno, len(errnos))
	for n, e := range errnos {
		if e != 0 {
			m[e] = Errno(n)
		}
	}
	return m
}()

// Local gives the error of this machine; EIO for a number it does not know.
func (e Errno) Local() unix.Errno {
	if e == 0 {
		return 0
	}
	if int(e) < len(errnos) && errnos[e] != 0 {
		return errnos[e]
	}
	return unix.EIO
}

// FromErrno gives the wire's number; that of EIO for what has none.
func FromErrno(e unix.Errno) Errno {
	if e == 0 {
		return 0
	}
	if n, ok := wireNumbers[e]; ok {
		return n
	}
	return wireNumbers[unix.EIO]
}

// kinds are the errors that are not a number but mean one.
var kinds = [...]struct {
	err   error
	errno unix.Errno
}{
	{fs.ErrNotExist, unix.ENOENT}, {errdefs.ErrNotFound, unix.ENOENT},
	{fs.ErrExist, unix.EEXIST}, {errdefs.ErrAlreadyExists, unix.EEXIST},
	{fs.ErrPermission, unix.EPERM}, {errdefs.ErrPermissionDenied, unix.EACCES},
	{errdefs.ErrUnauthenticated, unix.EACCES},
	{errdefs.ErrInvalidArgument, unix.EINVAL}, {errdefs.ErrOutOfRange, unix.ERANGE},
	{errdefs.ErrFailedPrecondition, unix.EBUSY}, {errdefs.ErrConflict, unix.EBUSY},
	{errdefs.ErrResourceExhausted, unix.ENOSPC}, {errdefs.ErrUnavailable, unix.EAGAIN},
	{errdefs.ErrNotImplemented, unix.EOPNOTSUPP}, {errors.ErrUnsupported, unix.EOPNOTSUPP},
}

// FromError gives the number of the syscall.Errno, the errdefs kind or the
// io/fs error that err is or wraps; EIO's if there is none.
func FromError(err error) Errno {
	if err == nil {
		return 0
	}
	var n unix.Errno
	if errors.As(err, &n) {
		return FromErrno(n)
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return FromErrno(k.errno)
		}
	}
	return FromErrno(unix.EIO)
}
