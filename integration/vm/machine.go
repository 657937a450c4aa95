// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Machine is one virtual machine. What it writes to its disks is gone when it ends, but not when it is restarted.
type Machine struct {
	*Guest
	role    role
	console string // the file with what its kernel and systemd print
	qmp     string
	qemu    *process
}

// machineSpec is what a machine is started with.
type machineSpec struct {
	role    role
	image   image
	payload string // a disk image that it finds as a second disk, or ""
	dir     string // for its sockets and its console
	accel   string // tcg or kvm
	link    string // the socket of the Ethernet link; the HOST listens on it
	vsock   string // the socket of the vsock device
}

// bootPatience is how long a machine may take to come up, emulated, on a machine that has other things to do.
const bootPatience = 15 * time.Minute

// startMachine starts QEMU and does not wait for the guest.
func startMachine(e emulator, s machineSpec, guest func(socket string) *Guest) (*Machine, error) {
	path := func(kind string) string { return filepath.Join(s.dir, s.role.name+"."+kind) }
	m := &Machine{role: s.role, console: path("console"), qmp: path("qmp")}
	log, err := os.Create(path("qemu.log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.role.name, err)
	}
	defer log.Close()
	cmd := e.qemu(s.arguments(m.console, m.qmp, path("ssh"))...)
	cmd.Stdout, cmd.Stderr = log, log
	if m.qemu, err = start("QEMU of "+s.role.name, cmd); err != nil {
		return nil, err
	}
	m.Guest = guest(path("ssh"))
	return m, nil
}

// arguments are the machine's parts. Its memory is shared because the vsock device is another process.
func (s machineSpec) arguments(console, qmp, ssh string) []string {
	memory, listens := strconv.Itoa(s.role.memory)+"M", "off"
	if s.role.name == hostRole.name {
		listens = "on"
	}
	link := "stream,id=link,addr.type=unix,addr.path=" + s.link + ",server=" + listens
	if listens == "off" {
		link += ",reconnect-ms=500"
	}
	accel := s.accel
	if accel == "tcg" {
		accel = "tcg,thread=multi"
	}
	args := []string{
		"-name", s.role.name, "-machine", "q35,memory-backend=memory", "-accel", accel, "-cpu", "max", "-smp", "1",
		"-m", memory, "-object", "memory-backend-memfd,id=memory,share=on,size=" + memory,
		"-kernel", s.image.kernel, "-initrd", s.image.initrd,
		"-append", "root=/dev/vda rw console=ttyS0 quiet loglevel=4 net.ifnames=0 systemd.show_status=0 panic=1",
		"-serial", "file:" + console, "-qmp", "unix:" + qmp + ",server=on,wait=off",
		"-drive", "if=none,id=root,format=raw,snapshot=on,cache=unsafe,discard=unmap,file=" + s.image.disk,
		"-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci",
		// Restricted: nothing leads from this interface to the outside.
		"-netdev", "user,id=wayin,restrict=on,hostfwd=unix:" + ssh + "-:22",
		"-device", "virtio-net-pci,netdev=wayin,mac=" + s.role.wayInMAC(),
		"-netdev", link, "-device", "virtio-net-pci,netdev=link,id=nic,mac=" + s.role.linkMAC(),
		"-chardev", "socket,id=vsock,path=" + s.vsock, "-device", "vhost-user-vsock-pci,chardev=vsock",
	}
	if s.payload != "" {
		args = append(args, "-drive", "if=none,id=payload,format=raw,snapshot=on,file="+s.payload,
			"-device", "virtio-blk-pci,drive=payload")
	}
	return args
}

// awaitUp waits until systemd has started everything, and fails if some of that did not start.
func (m *Machine) awaitUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	for {
		// A machine that is not up yet refuses, or has nobody at the other end, which ends a greeting.
		state, err := m.Try(ctx, "systemctl", "is-system-running", "--wait")
		answer := strings.TrimSpace(state.Out)
		switch {
		case err == nil && answer == "running":
			return nil
		case err == nil && answer == "degraded":
			failed, err := m.Shell(ctx, "systemctl --failed --no-legend --plain; journalctl -b -p err --no-pager | tail -n 20")
			return errors.Join(fmt.Errorf("start %s: units failed: %s", m.name, failed), err)
		}
		if ended, how := m.qemu.ended(); ended {
			return fmt.Errorf("start %s: QEMU ended (%w): %s", m.name, errors.Join(how), m.said())
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("start %s: not up after %v (%w): %s", m.name, bootPatience, errors.Join(err, ctx.Err()), m.said())
		}
	}
}

// said is the end of what the machine and its QEMU printed.
func (m *Machine) said() string {
	var all []byte
	for _, path := range []string{strings.TrimSuffix(m.console, "console") + "qemu.log", m.console} {
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error())
		}
		all = append(append(all, text...), '\n')
	}
	return tail(all)
}

// Reset restarts the machine at once, as its reset button would, and waits until it is up again. What it had not
// written to its disks is lost.
func (m *Machine) Reset(ctx context.Context) error {
	return m.restart(ctx, func() error { return control(ctx, m.qmp, "system_reset", nil) })
}

// Reboot restarts the machine in an orderly way and waits until it is up again.
func (m *Machine) Reboot(ctx context.Context) error {
	return m.restart(ctx, func() error {
		_, err := m.Output(ctx, "systemctl", "reboot", "--no-block")
		return err
	})
}

// restart waits for another boot than the present one.
func (m *Machine) restart(ctx context.Context, do func() error) error {
	const bootID = "/proc/sys/kernel/random/boot_id"
	before, err := m.Output(ctx, "cat", bootID)
	if err != nil {
		return fmt.Errorf("restart %s: %w", m.name, err)
	}
	if err := do(); err != nil {
		return fmt.Errorf("restart %s: %w", m.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, patience)
		now, err := m.Output(attempt, "cat", bootID)
		cancel()
		if err == nil && now != before {
			return m.awaitUp(ctx)
		}
		// A connection to a machine that was reset says nothing any more, not even that it is broken.
		m.disconnect()
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("restart %s: not up again: %w: %s", m.name, errors.Join(err, ctx.Err()), m.said())
		}
	}
}

// SetLink plugs the machine's end of the link in, or pulls it out: what is sent meanwhile is lost.
func (m *Machine) SetLink(ctx context.Context, up bool) error {
	return control(ctx, m.qmp, "set_link", map[string]any{"name": "nic", "up": up})
}

// powerOff lets the machine shut down in order, for as long as patience says, and then ends it.
func (m *Machine) powerOff(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := m.Output(ctx, "systemctl", "poweroff", "--no-block"); err == nil {
		select {
		case <-m.qemu.done:
		case <-ctx.Done():
		}
	}
	m.disconnect()
	m.qemu.stop(time.Second)
}
