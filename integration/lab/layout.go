// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copiedConfig is what an environment has of the machine's /etc: accounts, name services, certificates, the loader's
// cache and what /usr links to. Nothing that configures a daemon.
var copiedConfig = []string{
	"alternatives", "bash.bashrc", "ca-certificates", "debian_version", "group", "gshadow", "host.conf", "ld.so.cache",
	"ld.so.conf", "ld.so.conf.d", "localtime", "networks", "nsswitch.conf", "os-release", "passwd", "profile",
	"protocols", "rpc", "services", "shadow", "ssl", "subgid", "subuid", "terminfo", "ethertypes",
}

// layOutRoot makes the directories and files of an environment's root that need no mounts.
func layOutRoot(root, hostname string) error {
	for _, dir := range []string{
		"dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "var/cache", "var/lib", "var/log",
		"var/tmp",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]fs.FileMode{
		"tmp": 0o777 | fs.ModeSticky, "var/tmp": 0o777 | fs.ModeSticky, "root": 0o700,
	} {
		if err := os.Chmod(filepath.Join(root, dir), mode); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"var/run": "/run", "var/lock": "/run/lock", "etc/mtab": "/proc/mounts"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, name := range copiedConfig {
		err := copyTree(filepath.Join("/etc", name), filepath.Join(root, "etc", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	files := map[string]string{
		"etc/hostname": hostname + "\n",
		"etc/hosts":    "127.0.0.1 localhost\n127.0.1.1 " + hostname + "\n" + HostAddress + " host\n" + DPUAddress + " dpu\n",
		// An address without a server: a daemon then needs no default of its own, and a look-up fails at once.
		"etc/resolv.conf":           "nameserver " + DPUAddress + "\noptions timeout:1 attempts:1\n",
		"root/.docker/config.json":  `{"cliPluginsExtraDirs": ["` + binDir + `"]}` + "\n",
		"root/.bashrc":              "PS1='" + hostname + ":\\w\\$ '\n",
		"etc/machine-id":            "",
		"etc/docker/.keep":          "",
		"etc/containerd/.keep":      "",
		"etc/offload/certs/.keep":   "",
		"var/lib/containerd/.keep":  "",
		"var/lib/offload/.keep":     "",
		"var/lib/docker/tmp/.keep":  "",
		"var/lib/docker-data/.keep": "",
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// layOutPrograms fills the directory that becomes an environment's binDir. The files are real ones in it, not binds:
// runc runs itself from an overlay of the directory that it is in, where a bind would show the file that it covers.
func layOutPrograms(dir string, files []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		target := filepath.Join(dir, filepath.Base(file))
		if os.Link(file, target) == nil {
			continue
		}
		if err := copyFile(file, target, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies files, links and directories with their modes. What is none of these is left out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			return os.MkdirAll(target, info.Mode().Perm())
		case fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case 0:
			return copyFile(path, target, info.Mode().Perm())
		}
		return nil
	})
}

// copyFile copies a file's bytes, and gives the copy the mode whatever the umask is.
func copyFile(from, to string, mode fs.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err == nil {
		err = target.Chmod(mode)
	}
	if closeErr := target.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}
