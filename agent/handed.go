// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstHanded is the descriptor of the first socket that a service manager hands
// over.
const firstHanded = 3

// maxHanded bounds how many are taken.
const maxHanded = 64

// Handed returns the sockets that the service manager listens on for this process,
// as sd_listen_fds(3) does: who connects while no daemon runs waits for the next
// one. They are not given on to programs that the process starts. It is for the
// beginning of main, once.
func Handed() ([]net.Listener, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("forget %s: %w", name, err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxHanded {
		return nil, fmt.Errorf("the service manager hands %q sockets over, not 0 to %d", count, maxHanded)
	}
	var out []net.Listener
	for fd := firstHanded; fd < firstHanded+n; fd++ {
		unix.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "handed")
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, fmt.Errorf("take the service manager's socket %d: %w", fd, err)
		}
		out = append(out, l)
	}
	return out, nil
}
