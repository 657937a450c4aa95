// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Ways to run a guest's instructions.
const (
	accelKVM = "kvm" // by the processor
	accelTCG = "tcg" // by translation, some ten times slower
)

// accelerator finds out whether KVM runs a guest here, which needs more than the device to be there. The answer holds
// until this machine is booted again.
func (b *builder) accelerator(ctx context.Context, e emulator, i image) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("find out about KVM: %w", err)
	}
	known := filepath.Join(b.dir, "accelerator")
	if text, err := os.ReadFile(known); err == nil {
		if answer, ok := strings.CutSuffix(string(text), " "+string(boot)); ok {
			return answer, nil
		}
	}
	answer := accelTCG
	if device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		device.Close()
		works, err := b.runsKernel(ctx, e, i)
		if err != nil {
			return "", fmt.Errorf("find out about KVM: %w", err)
		}
		if works {
			answer = accelKVM
		}
	}
	b.say("guests run under %s", strings.ToUpper(answer))
	return answer, os.WriteFile(known, fmt.Appendf(nil, "%s %s", answer, boot), 0o644)
}

// runsKernel tells whether KVM brings the image's kernel as far as looking for its disk, which is not there.
func (b *builder) runsKernel(ctx context.Context, e emulator, i image) (bool, error) {
	dir, unlock, err := newRunDir(b.dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	defer os.RemoveAll(dir)
	console := filepath.Join(dir, "console")
	p, err := start("QEMU", e.qemu("-machine", "q35", "-accel", accelKVM, "-cpu", "max", "-m", "256M", "-no-reboot",
		"-kernel", i.kernel, "-append", "console=ttyS0 panic=-1", "-serial", "file:"+console))
	if err != nil {
		return false, err
	}
	defer p.stop(0)
	// Its last words on a machine where it works come within a second or two.
	deadline := time.After(20 * time.Second)
	for {
		said, err := os.ReadFile(console)
		if err == nil && bytes.Contains(said, []byte("Unable to mount root fs")) {
			return true, nil
		}
		select {
		case <-p.done:
			said, _ = os.ReadFile(console)
			return bytes.Contains(said, []byte("Unable to mount root fs")), nil
		case <-deadline:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
