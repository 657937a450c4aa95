// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// The emulator is from the release of Debian that will follow the present one: older ones have no vhost-device-vsock,
// and their QEMU can't forward a unix socket to a guest.
const emulatorRelease = "forky"

// emulatorPackages are, with what they need, everything that runs outside of the guests.
var emulatorPackages = []string{"qemu-system-x86", "vhost-device-vsock", "seabios", "ipxe-qemu"}

// emulator is a directory into which QEMU and its libraries were unpacked.
type emulator struct{ root string }

// buildEmulator unpacks the packages into dir/emulator-KEY unless that is there.
func (b *builder) buildEmulator(ctx context.Context) (emulator, error) {
	key := recipeKey(append(slices.Clone(emulatorPackages), emulatorRelease)...)
	dir, err := b.once(ctx, "emulator-"+key, func(ctx context.Context, dir string) error {
		b.say("unpacking QEMU from Debian %s", emulatorRelease)
		return debootstrap(ctx, debianTree{
			variant: "extract", release: emulatorRelease, packages: emulatorPackages, dir: filepath.Join(dir, "root"),
		})
	})
	if err != nil {
		return emulator{}, fmt.Errorf("unpack the emulator: %w", err)
	}
	return emulator{root: filepath.Join(dir, "root")}, nil
}

// command prepares a program of the emulator. It is started by the emulator's own loader with the emulator's own
// libraries, which are newer than this machine's may be.
func (e emulator) command(name string, args ...string) *exec.Cmd {
	libraries := filepath.Join(e.root, "usr/lib/x86_64-linux-gnu")
	cmd := exec.Command(filepath.Join(e.root, "usr/lib64/ld-linux-x86-64.so.2"),
		append([]string{"--library-path", libraries, filepath.Join(e.root, "usr/bin", name)}, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+filepath.Join(libraries, "qemu"), "TMPDIR="+scratch)
	return cmd
}

// scratch is where QEMU keeps what guests write, in files that have no name: a disk, not memory.
const scratch = "/var/tmp"

// qemu prepares QEMU with nothing but what args say.
func (e emulator) qemu(args ...string) *exec.Cmd {
	return e.command("qemu-system-x86_64", append([]string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-L", filepath.Join(e.root, "usr/share/seabios"), "-L", filepath.Join(e.root, "usr/share/qemu"),
		"-L", filepath.Join(e.root, "usr/lib/ipxe/qemu"),
	}, args...)...)
}
