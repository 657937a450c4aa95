// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Addresses of the machines on the link between them.
const (
	HostAddress = "10.0.0.2"
	DPUAddress  = "10.0.0.1"
)

// role is what is different about a machine from its image on.
type role struct {
	name    string
	release string // of Debian; the two roles have different ones, and so different kernels
	address string // on the link
	mac     string // the last byte of its interfaces' addresses
	cid     uint32 // its context id, which the machine itself sees
	memory  int    // MiB
	extra   []string
}

// The older kernel is on the HOST: its file systems and its container features are what matters there, and the new
// one's are what this project is otherwise developed on.
var (
	hostRole = role{name: "host", release: "bookworm", address: HostAddress, mac: "02", cid: 4, memory: 1024,
		extra: []string{"runc"}}
	dpuRole = role{name: "dpu", release: "trixie", address: DPUAddress, mac: "01", cid: 3, memory: 1536,
		extra: []string{"iptables", "ca-certificates", "bash-completion"}}
)

// basePackages make a machine that boots, has a network and lets one in.
var basePackages = []string{
	"linux-image-cloud-amd64", "initramfs-tools", "systemd", "systemd-sysv", "udev", "dbus", "kmod", "openssh-server",
	"iproute2", "iputils-ping", "nftables", "procps", "fuse3", "libseccomp2", "netcat-openbsd",
}

// imageRevision is raised when what an image has in it changes in a way that its recipe does not show.
const imageRevision = "3"

// image is what a machine starts from.
type image struct {
	disk, kernel, initrd string
	hostKey              ssh.PublicKey // of its ssh daemon
}

const (
	diskFile, kernelFile, initrdFile, hostKeyFile = "root.ext4", "vmlinuz", "initrd", "host-key.pub"
	diskSize                                      = 6 << 30
)

// buildImage makes the image of a role unless it is there.
func (b *builder) buildImage(ctx context.Context, r role, client ssh.PublicKey) (image, error) {
	packages := append(append([]string{}, basePackages...), r.extra...)
	files := imageFiles(r, client)
	key := recipeKey(append(packages, imageRevision, r.release, fmt.Sprint(files))...)
	dir, err := b.once(ctx, r.name+"-"+key, func(ctx context.Context, dir string) error {
		b.say("building the %s's image, Debian %s", strings.ToUpper(r.name), r.release)
		tree := filepath.Join(dir, "tree")
		err := debootstrap(ctx, debianTree{
			variant: "minbase", release: r.release, packages: packages, dir: tree,
			commands: []string{
				"systemctl enable systemd-networkd.service ssh.service",
				"systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer " +
					"systemd-networkd-wait-online.service",
			},
		})
		if err != nil {
			return err
		}
		if err := finishImage(ctx, dir, tree, files); err != nil {
			return err
		}
		return os.RemoveAll(tree)
	})
	if err != nil {
		return image{}, fmt.Errorf("build the image of %s: %w", r.name, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, hostKeyFile))
	if err != nil {
		return image{}, err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey(text)
	return image{
		disk: filepath.Join(dir, diskFile), kernel: filepath.Join(dir, kernelFile), initrd: filepath.Join(dir, initrdFile),
		hostKey: hostKey,
	}, err
}

// finishImage writes our files into a Debian tree and makes a disk, a kernel and an initial ramdisk out of it.
func finishImage(ctx context.Context, dir, tree string, files map[string]string) error {
	if err := writeFiles(tree, files); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(tree, "root/.ssh"), 0o700); err != nil {
		return err
	}
	for pattern, name := range map[string]string{
		"boot/vmlinuz-*": kernelFile, "boot/initrd.img-*": initrdFile, "etc/ssh/ssh_host_ed25519_key.pub": hostKeyFile,
	} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d files are named %s, not one", len(found), pattern)
		}
		if err := copyFile(found[0], filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return makeDisk(ctx, filepath.Join(dir, diskFile), "root", tree, diskSize)
}

// imageFiles are what a machine has beyond its packages. The interfaces are told apart by address, as their names
// depend on the release.
func imageFiles(r role, client ssh.PublicKey) map[string]string {
	network := func(mac, address string) string {
		// The addresses stay when the carrier goes, as on a machine whose cable is pulled for a minute.
		return "[Match]\nMACAddress=" + mac + "\n\n[Network]\nAddress=" + address + "/24\nLinkLocalAddressing=no\n" +
			"IPv6AcceptRA=no\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n"
	}
	return map[string]string{
		"etc/hostname": r.name + "\n",
		"etc/hosts": "127.0.0.1 localhost\n127.0.1.1 " + r.name + "\n" +
			hostRole.address + " host\n" + dpuRole.address + " dpu\n",
		// An address without a server: a daemon then needs no default of its own, and a look-up fails at once.
		"etc/resolv.conf":                       "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
		"etc/fstab":                             "/dev/vda / ext4 defaults,discard 0 0\n",
		"etc/machine-id":                        "",
		"etc/systemd/network/10-way-in.network": network(r.wayInMAC(), "10.0.2.15"),
		"etc/systemd/network/20-link.network":   network(r.linkMAC(), r.address),
		"etc/ssh/sshd_config.d/lab.conf":        "MaxSessions 1000\nMaxStartups 100\nUseDNS no\nPrintMotd no\nPrintLastLog no\n",
		"root/.ssh/authorized_keys":             string(ssh.MarshalAuthorizedKey(client)),
		"root/.bashrc":                          "PS1='" + r.name + ":\\w\\$ '\nalias ll='ls -l'\n",
	}
}

func (r role) wayInMAC() string { return "52:54:00:00:01:" + r.mac }
func (r role) linkMAC() string  { return "52:54:00:00:02:" + r.mac }

// clientKey returns the key that all images let in, and makes it the first time.
func (b *builder) clientKey(ctx context.Context) (string, ssh.Signer, error) {
	dir, err := b.once(ctx, "key", func(_ context.Context, dir string) error {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		block, err := ssh.MarshalPrivateKey(private, "offload-lab")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "id_ed25519"), pem.EncodeToMemory(block), 0o600)
	})
	if err != nil {
		return "", nil, fmt.Errorf("make the key to the machines: %w", err)
	}
	path := filepath.Join(dir, "id_ed25519")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	return path, signer, err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
