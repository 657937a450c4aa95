// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/carrier"
	"github.com/container-offload/offload/network/netns"
)

// Offloads by their names in carrier.Terms; see TUNSETOFFLOAD in
// linux/if_tun.h. The kernel takes segmentation only with checksums.
var offloads = []struct {
	name string
	flag int
}{
	{"csum", unix.TUN_F_CSUM},
	{"tso4", unix.TUN_F_TSO4},
	{"tso6", unix.TUN_F_TSO6},
	{"ecn", unix.TUN_F_TSO_ECN},
	{"uso", unix.TUN_F_USO4 | unix.TUN_F_USO6}, // Linux 6.2
}

// queueLength is how many frames may wait in a device for the stream.
const queueLength = 512

// tap is a TAP device, which exists as long as its file is open.
type tap struct {
	f     *os.File
	index int
}

func openTap(p carrier.Place) (t *tap, err error) {
	err = netns.Do(p.NS, func() error {
		// The device appears in the namespace of the thread that opens the file.
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		if err := configure(fd, p.Name); err != nil {
			unix.Close(fd)
			return err
		}
		i, err := net.InterfaceByName(p.Name)
		if err != nil {
			unix.Close(fd)
			return err
		}
		t = &tap{f: os.NewFile(uintptr(fd), "tap "+p.Name), index: i.Index}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make tap device %s: %w", p.Name, err)
	}
	return t, nil
}

func configure(fd int, name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("TUNSETIFF: %w", err)
	}
	// Headers cross the link as they are, so they have one byte order.
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1); err != nil {
		return fmt.Errorf("TUNSETVNETLE: %w", err)
	}
	return setQueue(name)
}

// setQueue sets the length of the device's queue. The thread is in the device's
// namespace.
func setQueue(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint32(queueLength)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFTXQLEN, req); err != nil {
		return fmt.Errorf("SIOCSIFTXQLEN: %w", err)
	}
	return nil
}

// supported returns the offloads that this kernel's TAP devices can take.
func (t *tap) supported() []string {
	var names []string
	for _, o := range offloads {
		if t.enable(append(slices.Clone(names), o.name)) == nil {
			names = append(names, o.name)
		}
	}
	return names
}

// enable makes the device hand out and take the named kinds of frames.
func (t *tap) enable(names []string) error {
	flags := 0
	for _, o := range offloads {
		if slices.Contains(names, o.name) {
			flags |= o.flag
		}
	}
	raw, err := t.f.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, flags) })
	if err == nil {
		err = set
	}
	if err != nil {
		return fmt.Errorf("set offloads %v of %s: %w", names, t.f.Name(), err)
	}
	return nil
}
