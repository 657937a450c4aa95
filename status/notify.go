// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"net"
	"os"
)

// What a daemon can tell its service manager with [Notify].
const (
	// Ready says that the daemon does its work.
	Ready = "READY=1"
	// Stopping says that the daemon is about to end.
	Stopping = "STOPPING=1"
)

// Notify tells the service manager that started this process its state, as
// sd_notify(3) does. Without such a manager it does nothing.
func Notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
