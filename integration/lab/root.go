// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// binDir is where an environment has its own programs, ours and the pinned components. The machine's /usr/local is
// not visible.
const binDir = "/usr/local/bin"

// rootSpec says what the root of an environment is made of.
type rootSpec struct {
	// Hostname is the uts name.
	Hostname string
	// Root is the directory, on disk, that becomes /.
	Root string
	// Programs is the directory, on disk, that becomes binDir.
	Programs string
	// Hierarchies are mounted as on the machine.
	Hierarchies []hierarchy
	// Group is the environment's cgroup, relative to every hierarchy's root.
	Group string
}

// hidden are programs that must not be found in an environment even if the machine has them installed.
var hidden = []string{
	"containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "containerd-stress", "ctr",
	"docker", "dockerd", "docker-init", "docker-proxy", "nerdctl", "podman", "runc", "crun",
}

// buildRoot assembles the root tree in this process's fresh mount namespace and moves into it.
func buildRoot(spec rootSpec) error {
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount(spec.Root, spec.Root, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	steps := []func(rootSpec) error{
		bindSystem, hidePrograms, bindBinaries, mountKernelTrees, mountCgroups, makeDevices, pivot,
	}
	for _, step := range steps {
		if err := step(spec); err != nil {
			return err
		}
	}
	return enterLeaf(spec)
}

// mount is mount(2) that makes the target directory and reads as a sentence when it fails.
func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := os.MkdirAll(target, 0o755); err != nil && !errors.Is(err, fs.ErrExist) && flags&unix.MS_BIND == 0 {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype+source, target, err)
	}
	return nil
}

// bindReadOnly shows source, with what is mounted below it, at target. Both are of one kind, file or directory.
func bindReadOnly(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

// bindSystem shows the machine's programs and libraries, whether its /bin and /lib are links into /usr or not.
func bindSystem(spec rootSpec) error {
	for _, name := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		source, target := "/"+name, filepath.Join(spec.Root, name)
		info, err := os.Lstat(source)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("bind system directory: %w", err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(source)
			if err != nil {
				return fmt.Errorf("copy link: %w", err)
			}
			if err := os.Symlink(to, target); err != nil {
				return fmt.Errorf("copy link: %w", err)
			}
			continue
		}
		if err := os.Mkdir(target, 0o755); err != nil {
			return fmt.Errorf("bind system directory: %w", err)
		}
		if err := bindReadOnly(source, target); err != nil {
			return err
		}
	}
	return nil
}

// hidePrograms covers what the machine happens to have installed of what an environment is there to test.
func hidePrograms(spec rootSpec) error {
	empty := filepath.Join(spec.Root, ".hidden")
	if err := os.WriteFile(empty, nil, 0o444); err != nil {
		return fmt.Errorf("hide programs: %w", err)
	}
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "usr/libexec/docker"} {
		if info, err := os.Lstat(filepath.Join(spec.Root, dir)); err != nil || !info.IsDir() {
			continue
		}
		for _, name := range hidden {
			target := filepath.Join(spec.Root, dir, name)
			if _, err := os.Stat(target); err != nil {
				continue
			}
			if err := bindReadOnly(empty, target); err != nil {
				return err
			}
		}
	}
	return nil
}

// bindBinaries replaces the machine's /usr/local by one that has the environment's programs only.
func bindBinaries(spec rootSpec) error {
	const options = "mode=755,size=1m"
	local := filepath.Join(spec.Root, "usr/local")
	if err := mount("local", local, "tmpfs", 0, options); err != nil {
		return err
	}
	target := filepath.Join(spec.Root, binDir)
	if err := os.Mkdir(target, 0o755); err != nil {
		return fmt.Errorf("bind programs: %w", err)
	}
	if err := bindReadOnly(spec.Programs, target); err != nil {
		return err
	}
	return mount("local", local, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, options)
}

// mountKernelTrees mounts what every system has: proc and sysfs of the new namespaces, and memory for /run.
func mountKernelTrees(spec rootSpec) error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	in := func(path string) string { return filepath.Join(spec.Root, path) }
	if err := mount("proc", in("proc"), "proc", plain, ""); err != nil {
		return err
	}
	if err := mount("sysfs", in("sys"), "sysfs", plain, ""); err != nil {
		return err
	}
	return mount("run", in("run"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755")
}

// mountCgroups mounts the same kinds of hierarchies as the machine has, each rooted at this environment's group.
func mountCgroups(spec rootSpec) error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if len(spec.Hierarchies) == 1 && spec.Hierarchies[0].unified() {
		return mount("cgroup2", filepath.Join(spec.Root, cgroupRoot), "cgroup2", plain, "")
	}
	if err := mount("cgroup", filepath.Join(spec.Root, cgroupRoot), "tmpfs", plain, "mode=755"); err != nil {
		return err
	}
	for _, h := range spec.Hierarchies {
		if err := mount(h.Type, filepath.Join(spec.Root, h.Mount), h.Type, plain, h.Options); err != nil {
			return err
		}
		// Where controllers share a hierarchy, each is also found by its own name.
		for controller := range strings.SplitSeq(h.Options, ",") {
			link := filepath.Join(spec.Root, cgroupRoot, controller)
			if _, err := os.Lstat(link); err == nil || controller == "" || strings.Contains(h.Options, "=") {
				continue
			}
			if err := os.Symlink(filepath.Base(h.Mount), link); err != nil {
				return fmt.Errorf("link cgroup controller: %w", err)
			}
		}
	}
	return nil
}

// makeDevices fills /dev with the nodes that daemons and containers use, as far as the machine has them.
func makeDevices(spec rootSpec) error {
	dev := filepath.Join(spec.Root, "dev")
	if err := mount("dev", dev, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return err
	}
	for _, name := range []string{
		"null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun", "vsock", "loop-control",
	} {
		var stat unix.Stat_t
		if err := unix.Stat(filepath.Join("/dev", name), &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFCHR {
			continue
		}
		node := filepath.Join(dev, name)
		if err := os.MkdirAll(filepath.Dir(node), 0o755); err != nil {
			return fmt.Errorf("make device: %w", err)
		}
		if err := unix.Mknod(node, stat.Mode, int(stat.Rdev)); err != nil {
			return fmt.Errorf("make device %s: %w", name, err)
		}
		if err := unix.Chmod(node, stat.Mode&0o7777); err != nil {
			return fmt.Errorf("make device %s: %w", name, err)
		}
	}
	links := map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("make device link: %w", err)
		}
	}
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC
	if err := mount("devpts", filepath.Join(dev, "pts"), "devpts", quiet,
		"newinstance,ptmxmode=0666,mode=620,gid=5"); err != nil {
		return err
	}
	if err := mount("shm", filepath.Join(dev, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	return mount("mqueue", filepath.Join(dev, "mqueue"), "mqueue", quiet|unix.MS_NODEV, "")
}

// pivot makes the tree this process's root, drops the machine's, and shares mounts below it, as an init system does.
func pivot(spec rootSpec) error {
	old := filepath.Join(spec.Root, ".old")
	if err := os.Mkdir(old, 0o700); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.PivotRoot(spec.Root, old); err != nil {
		return fmt.Errorf("change root to %s: %w", spec.Root, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount("/.old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("drop the machine's root: %w", err)
	}
	if err := os.Remove("/.old"); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// enterLeaf leaves the environment's own group where that must hold no process, so that children can have controllers.
func enterLeaf(spec rootSpec) error {
	for _, h := range spec.Hierarchies {
		if !h.unified() {
			continue
		}
		if err := os.WriteFile(filepath.Join(h.leaf("."), "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
		return prepareChildren(h, h.Mount)
	}
	return nil
}
