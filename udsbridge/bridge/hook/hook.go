// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/moby/sys/mountinfo"
)

// ErrUnsupported is wrapped by the error of New if the kernel has no such hooks.
var ErrUnsupported = errors.New("hooks on unix sockets need Linux 6.7 with BPF, its type information, and a mount of cgroup2")

// points are where programs are attached, and whether they lead back there.
var points = []struct {
	attach  ebpf.AttachType
	reverse bool
}{
	{ebpf.AttachCgroupUnixConnect, false},
	{ebpf.AttachCgroupUnixSendmsg, false},
	{ebpf.AttachCgroupUnixGetpeername, true},
	{ebpf.AttachCgroupUnixRecvmsg, true},
}

// Hook leads paths of a cgroup's programs elsewhere until it is closed, or until
// this process ends, however it does.
type Hook struct {
	kernel kernel
	links  []link.Link
}

// New attaches a hook to a cgroup, with no rules. "" is the root of the cgroup2
// hierarchy, in which every process is.
func New(cgroup string) (*Hook, error) {
	h, err := attach(cgroup)
	if err != nil {
		return nil, fmt.Errorf("hook connect on unix sockets: %w", err)
	}
	return h, nil
}

func attach(cgroup string) (*Hook, error) {
	if cgroup == "" {
		var err error
		if cgroup, err = root(); err != nil {
			return nil, err
		}
	}
	k, err := lookUp()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	h := &Hook{kernel: k}
	for _, p := range points {
		l, err := h.attach(cgroup, p.attach, p.reverse)
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
		h.links = append(h.links, l)
	}
	return h, nil
}

func (h *Hook) attach(cgroup string, at ebpf.AttachType, reverse bool) (link.Link, error) {
	prog, err := h.load(at, nil, reverse)
	if err != nil {
		return nil, err
	}
	defer prog.Close() // the link keeps it
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: at, Program: prog})
	if err != nil {
		return nil, fmt.Errorf("attach %s to %s: %w", at, cgroup, err)
	}
	return l, nil
}

// load loads one program.
func (h *Hook) load(at ebpf.AttachType, rules []Rule, reverse bool) (*ebpf.Program, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "udsbridge", Type: ebpf.CGroupSockAddr, AttachType: at,
		Instructions: assemble(h.kernel, rules, reverse),
		// The kernel lets only programs that say so call its functions.
		License: "Dual MIT/GPL",
	})
	if err != nil {
		return nil, fmt.Errorf("load program for %s: %w", at, err)
	}
	return prog, nil
}

// Set replaces the rules. At each point that is done at once; on error some points
// may have the new rules.
func (h *Hook) Set(rules []Rule) error {
	for _, r := range rules {
		for _, path := range []string{r.From, r.To} {
			if !strings.HasPrefix(path, "/") || len(path) >= pathMax {
				return fmt.Errorf("hook %s: the path is not absolute or longer than a socket's address", path)
			}
		}
	}
	for i, p := range points {
		prog, err := h.load(p.attach, rules, p.reverse)
		if err != nil {
			return err
		}
		err = h.links[i].Update(prog)
		prog.Close()
		if err != nil {
			return fmt.Errorf("replace program for %s: %w", p.attach, err)
		}
	}
	return nil
}

// Close takes the hook away.
func (h *Hook) Close() error {
	var errs []error
	for _, l := range h.links {
		errs = append(errs, l.Close())
	}
	h.links = nil
	return errors.Join(errs...)
}

// root returns where the cgroup2 hierarchy is mounted.
func root() (string, error) {
	found, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		match := m.FSType == "cgroup2" && m.Root == "/"
		return !match, match
	})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%w: cgroup2 is not mounted", ErrUnsupported)
	}
	return found[0].Mountpoint, nil
}

// lookUp asks the kernel's type information.
func lookUp() (kernel, error) {
	var k kernel
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return k, err
	}
	for name, id := range map[string]*int64{
		"bpf_cast_to_kern_ctx": &k.castContext, "bpf_sock_addr_set_sun_path": &k.setPath,
	} {
		var fn *btf.Func
		if err := spec.TypeByName(name, &fn); err != nil {
			return k, fmt.Errorf("function %s of the kernel: %w", name, err)
		}
		n, err := spec.TypeID(fn)
		if err != nil {
			return k, fmt.Errorf("function %s of the kernel: %w", name, err)
		}
		*id = int64(n)
	}
	var context *btf.Struct
	if err := spec.TypeByName("bpf_sock_addr_kern", &context); err != nil {
		return k, fmt.Errorf("struct bpf_sock_addr_kern of the kernel: %w", err)
	}
	for _, m := range context.Members {
		switch m.Name {
		case "uaddr":
			k.addrOffset = int16(m.Offset.Bytes())
		case "uaddrlen":
			k.addrLenOffset = int16(m.Offset.Bytes())
		}
	}
	if k.addrOffset == 0 || k.addrLenOffset == 0 {
		return k, errors.New("struct bpf_sock_addr_kern of the kernel has other fields")
	}
	return k, nil
}
