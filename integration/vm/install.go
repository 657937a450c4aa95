// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Link is by what the two machines' offload daemons talk.
type Link string

const (
	// TCP is TCP on the Ethernet link, with certificates of both sides.
	TCP Link = "tcp"
	// Vsock is AF_VSOCK; each side knows the other by its context id.
	Vsock Link = "vsock"
)

const pki = "/etc/offload/pki"

// install puts programs, units and configuration where they belong. The payload is mounted only for that.
const install = `set -e
mount -o ro LABEL=` + PayloadLabel + ` /mnt
trap 'umount /mnt' EXIT
[ ! -d /mnt/deb ] || dpkg --install /mnt/deb/*.deb
[ ! -d /mnt/bin ] || cp /mnt/bin/* /usr/local/bin/
[ ! -d /mnt/unit ] || cp -r /mnt/unit/. /etc/systemd/system/
mkdir -p /etc/offload
[ ! -d /mnt/etc ] || cp /mnt/etc/* /etc/offload/
[ ! -d /mnt/images ] || cp -r /mnt/images /root/
systemctl daemon-reload
`

// Install installs the offload system on both machines from their payloads, makes certificates and starts all of it,
// with the two sides joined by the link.
func (p *Pair) Install(ctx context.Context, link Link) error {
	for _, m := range []*Machine{p.Host, p.DPU} {
		if _, err := m.Shell(ctx, install); err != nil {
			return fmt.Errorf("install on %s: %w", m.name, err)
		}
	}
	if err := p.installCertificates(ctx); err != nil {
		return fmt.Errorf("install certificates: %w", err)
	}
	if err := p.configure(ctx, link); err != nil {
		return err
	}
	if err := enable(ctx, p.Host, "offload-host"); err != nil {
		return err
	}
	return enable(ctx, p.DPU, "offload-dpu", "containerd", "docker")
}

// enable starts units, now and whenever the machine boots, and says why if one does not start.
func enable(ctx context.Context, m *Machine, units ...string) error {
	args := append([]string{"systemctl", "enable", "--quiet", "--now"}, units...)
	if _, err := m.Output(ctx, args...); err != nil {
		return errors.Join(fmt.Errorf("start what was installed: %w", err), errors.New(m.journal(ctx, units...)))
	}
	return nil
}

// journal is the end of what units logged.
func (m *Machine) journal(ctx context.Context, units ...string) string {
	args := []string{"journalctl", "-b", "--no-pager", "-o", "short-monotonic", "-n", "60"}
	for _, unit := range units {
		args = append(args, "-u", unit)
	}
	text, err := m.Output(ctx, args...)
	if err != nil {
		return err.Error()
	}
	return text
}

// Journal is the end of what the offload system's units logged on a machine.
func (m *Machine) Journal(ctx context.Context) string {
	return m.journal(ctx, "offload-host", "offload-dpu", "containerd", "docker")
}

// installCertificates makes the certificates on the DPU, as an operator would, and takes the HOST's there.
func (p *Pair) installCertificates(ctx context.Context) error {
	if _, err := p.DPU.Output(ctx, "offloadctl", "pki", "init", "--dir", pki); err != nil {
		return err
	}
	for _, name := range []string{"ca.crt", "host.crt", "host.key"} {
		var text bytes.Buffer
		if err := p.DPU.ReadFile(ctx, filepath.Join(pki, name), &text); err != nil {
			return err
		}
		if err := p.Host.WriteFile(ctx, filepath.Join(pki, name), &text, 0o600); err != nil {
			return err
		}
	}
	_, err := p.DPU.Output(ctx, "rm", filepath.Join(pki, "host.key"))
	return err
}

// configure writes both sides' configuration for the link.
func (p *Pair) configure(ctx context.Context, link Link) error {
	host, dpu := configuration(link)
	if err := p.Host.WriteFile(ctx, "/etc/offload/host.toml", strings.NewReader(host), 0o600); err != nil {
		return err
	}
	return p.DPU.WriteFile(ctx, "/etc/offload/dpu.toml", strings.NewReader(dpu), 0o600)
}

// configuration is host.toml and dpu.toml for a link.
func configuration(link Link) (host, dpu string) {
	const head = "version = 1\n[log]\nlevel = \"info\"\n[link]\n"
	if link == Vsock {
		return fmt.Sprintf("%slisten = \"vsock://any:%d\"\npeer_cid = %d\n", head, Port, PeerCID),
			fmt.Sprintf("%saddress = \"vsock://%d:%d\"\n", head, PeerCID, Port)
	}
	tls := func(name string) string {
		return fmt.Sprintf("[link.tls]\nca = %q\ncert = %q\nkey = %q\n", pki+"/ca.crt", pki+"/"+name+".crt", pki+"/"+name+".key")
	}
	return fmt.Sprintf("%slisten = \"tcp://%s:%d\"\n%s", head, HostAddress, Port, tls("host")),
		fmt.Sprintf("%saddress = \"tcp://%s:%d\"\n%s", head, HostAddress, Port, tls("dpu"))
}

// Switch has the two sides joined by another link. No container may be running.
func (p *Pair) Switch(ctx context.Context, link Link) error {
	if err := p.configure(ctx, link); err != nil {
		return fmt.Errorf("switch to %s: %w", link, err)
	}
	for _, of := range []struct {
		m     *Machine
		units []string
	}{{p.Host, []string{"offload-host"}}, {p.DPU, []string{"offload-dpu", "containerd", "docker"}}} {
		if _, err := of.m.Output(ctx, append([]string{"systemctl", "restart"}, of.units...)...); err != nil {
			return fmt.Errorf("switch to %s: %w: %s", link, err, of.m.Journal(ctx))
		}
	}
	return nil
}
