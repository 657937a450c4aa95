// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

// MaxVsockWrite is the most that may be written to a vsock socket with one system
// call, in bytes. What is written at once becomes one packet, of up to 64 KiB. From
// Linux 6.17 on, and in stable kernels that took the change over (Debian's 6.12 is
// one), a packet that does not fit into 32 KiB of memory is in several buffers, and
// devices that look at no more than the first lose or mix up what is in it without
// a word. vhost-device-vsock was seen to; Firecracker (issue 5475),
// cloud-hypervisor (issue 7672) and libkrun (issue 535) had the same fault.
//
// Write of a link's connection cuts what it is given into such pieces. Who writes
// by SyscallConn has to write no more at once.
const MaxVsockWrite = 28 << 10

// vsockConn is a vsock socket whose packets every device understands.
type vsockConn struct{ plainConn }

// Write writes b as net.Conn describes.
func (c *vsockConn) Write(b []byte) (int, error) {
	total := 0
	for {
		piece := b[total:min(total+MaxVsockWrite, len(b))]
		n, err := c.plainConn.Write(piece)
		total += n
		if err != nil || total == len(b) {
			return total, err
		}
	}
}
