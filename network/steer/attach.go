// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package steer

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	nsfd "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Joint is an interface joined with a carrier's device. It is not safe for
// concurrent use.
type Joint struct {
	h            *netlink.Handle
	port, device int
	added        []int // devices whose clsact qdisc is ours
}

// Join joins the interface port with device in the namespace.
func Join(ns *os.File, port, device int, s Sender) (_ *Joint, err error) {
	h, err := netlink.NewHandleAt(nsfd.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("join interface with its carrier: %w", err)
	}
	j := &Joint{h: h, port: port, device: device}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	if err := j.SetSender(s); err != nil {
		return nil, err
	}
	return j, nil
}

// SetSender changes whom frames may come from, and go to. No frame passes
// unchecked meanwhile.
func (j *Joint) SetSender(s Sender) error {
	if len(s.Addresses) > MaxAddresses {
		return fmt.Errorf("guard the carrier's device: %d addresses, more than %d", len(s.Addresses), MaxAddresses)
	}
	// The guard first: nothing is let out without it.
	if err := j.attach(j.device, Outward(j.port, s)); err != nil {
		return fmt.Errorf("guard the carrier's device: %w", err)
	}
	if err := j.attach(j.port, Inward(j.device, s)); err != nil {
		return fmt.Errorf("join interface with its carrier: %w", err)
	}
	return nil
}

// Close parts the interface from the device. An interface that has gone away
// took its half with it.
func (j *Joint) Close() {
	_ = j.h.FilterDel(filter(j.port))
	for _, index := range j.added {
		_ = j.h.QdiscDel(hook(index))
	}
	j.h.Close()
}

// hook is the clsact qdisc that carries the filters of a device.
func hook(index int) netlink.Qdisc {
	return &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
}

// filter is our filter on the ingress hook of a device, without its program.
func filter(index int) *netlink.BpfFilter {
	return &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
	}}
}

func (j *Joint) attach(index int, spec *ebpf.ProgramSpec) error {
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		return fmt.Errorf("load %s: %w", spec.Name, err)
	}
	defer prog.Close() // the filter holds it
	switch err := j.h.QdiscAdd(hook(index)); {
	case err == nil:
		j.added = append(j.added, index)
	case !errors.Is(err, unix.EEXIST): // a CNI plugin may have made one
		return fmt.Errorf("add clsact to device %d: %w", index, err)
	}
	f := filter(index)
	f.Fd, f.Name, f.DirectAction = prog.FD(), spec.Name, true
	if err := j.h.FilterReplace(f); err != nil {
		return fmt.Errorf("attach %s to device %d: %w", spec.Name, index, err)
	}
	return nil
}
