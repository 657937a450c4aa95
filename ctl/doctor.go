// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/link"
	"github.com/container-offload/offload/udsbridge/session"
)

func doctorCommand() *cobra.Command {
	var (
		machine machineFlags
		format  formatFlag
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong",
		Long: `Look at the configuration, the certificates, the daemons, the link, containerd, the
mounts and what may have been left behind, and say in sentences what is wrong. On a
DPU this includes what the HOST's agent finds wrong there. Nothing is changed.

Ends with status 1 if something is wrong. It takes two seconds or so at the most.`,
		Example: "  offloadctl doctor\n  offloadctl doctor -o json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := machine.load()
			if err != nil {
				return err
			}
			findings := m.examine(cmd.Context(), time.Now())
			err = format.print(cmd.OutOrStdout(), findings, func(p *printer) {
				for _, f := range findings {
					p.line("%s  %s", p.paint(red, f.On), f.Text)
				}
				if len(findings) == 0 {
					p.line("%s", p.paint(green, "Nothing is wrong."))
				}
			})
			if err == nil && len(findings) > 0 {
				err = errReported
			}
			return err
		},
	}
	machine.add(cmd)
	format.add(cmd)
	return cmd
}

// finding is one thing that is wrong.
type finding struct {
	// On is the machine on which it is wrong, as far as is known.
	On   string `json:"on"`
	Text string `json:"text"`
}

// findings makes findings on one machine of sentences.
func findings(machine string, sentences ...string) []finding {
	var out []finding
	for _, s := range sentences {
		out = append(out, finding{machine, s})
	}
	return out
}

// examine finds everything that is wrong, in the order in which it is to be
// mended: what comes first may be the reason for what comes later.
func (m *machine) examine(ctx context.Context, now time.Time) []finding {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out := []finding{}
	if m.hostFile != "" {
		out = append(out, m.examineHost(ctx, now)...)
	}
	if m.dpuFile != "" {
		out = append(out, m.examineDPU(ctx, now)...)
	}
	return out
}

func (m *machine) examineHost(ctx context.Context, now time.Time) []finding {
	if m.hostErr != nil {
		return configFindings(onHost, m.hostErr)
	}
	out := findings(onHost, checkCertificates(m.host.Link.TLS, now)...)
	if _, err := m.host.Security(); err != nil {
		out = append(out, finding{onHost, sentence(err)})
	}
	report, err := status.Get(ctx, filepath.Join(m.host.State.Dir, status.SocketName))
	if err != nil {
		return append(out, finding{onHost, "offload-host does not answer: " + sentence(err)})
	}
	return append(out, findings(onHost, report.Problems...)...)
}

func (m *machine) examineDPU(ctx context.Context, now time.Time) []finding {
	if m.dpuErr != nil {
		return configFindings(onDPU, m.dpuErr)
	}
	var (
		all    sync.WaitGroup
		link   []finding
		daemon []finding
	)
	all.Go(func() { link = checkLink(ctx, m.dpu) })
	all.Go(func() { daemon = m.askDPU(ctx) })
	out := findings(onDPU, checkCertificates(m.dpu.Link.TLS, now)...)
	all.Wait()
	return append(append(out, link...), daemon...)
}

// askDPU has the daemons say what is wrong. With no daemon, it looks at what that
// one would have kept.
func (m *machine) askDPU(ctx context.Context) []finding {
	socket := filepath.Join(m.dpu.State.Dir, status.SocketName)
	report, err := status.Get(ctx, socket)
	if err != nil {
		out := findings(onDPU, "offload-dpu does not answer: "+sentence(err))
		return append(out, findings(onDPU, checkMountpoint(ctx, m.dpu.RemoteFS.Mountpoint)...)...)
	}
	out := findings(onDPU, report.Problems...)
	out = append(out, findings(onDPU, checkPluginSocket(ctx, m.dpu.Plugins.Socket)...)...)
	if m.host != nil || !linkIsUp(report) {
		return out
	}
	peer, err := status.GetPeer(ctx, socket)
	if err != nil {
		return append(out, finding{onHost, "offload-host does not answer over the link: " + sentence(err)})
	}
	return append(out, findings(onHost, peer.Problems...)...)
}

func linkIsUp(r *status.Report) bool {
	for _, l := range r.Links {
		if l.State == status.LinkUp {
			return true
		}
	}
	return false
}

// configFindings makes a finding of each problem of a configuration file.
func configFindings(machine string, err error) []finding {
	problems := config.Problems(err)
	if len(problems) == 0 {
		return findings(machine, sentence(err))
	}
	var out []finding
	for _, p := range problems {
		out = append(out, finding{machine, sentence(p)})
	}
	return out
}

// sentence ends an error as a sentence ends.
func sentence(err error) string { return err.Error() + "." }

// checkCertificates finds certificates that are about to expire.
func checkCertificates(files config.TLS, now time.Time) []string {
	var out []string
	for _, of := range []struct{ file, remedy string }{
		{files.CA, `"offloadctl pki init" makes a new authority`},
		{files.Cert, `"offloadctl pki renew" makes a new one`},
	} {
		file := of.file
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			out = append(out, sentence(err))
			continue
		}
		block, _ := pem.Decode(data)
		if block == nil {
			continue // whoever loads it says so
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		day := c.NotAfter.UTC().Format(time.DateOnly)
		switch left := c.NotAfter.Sub(now); {
		case left <= 0:
			out = append(out, fmt.Sprintf("The certificate %s expired on %s; %s.", file, day, of.remedy))
		case left < soon:
			out = append(out, fmt.Sprintf("The certificate %s expires on %s, in %d days; %s.",
				file, day, int(left/(24*time.Hour)), of.remedy))
		}
	}
	return out
}

// checkLink connects to the HOST as the daemon does.
func checkLink(ctx context.Context, cfg *config.DPU) []finding {
	dialer, err := cfg.Dialer()
	if err != nil {
		return findings(onDPU, sentence(err))
	}
	s, err := session.Dial(ctx, func(ctx context.Context) (net.Conn, error) {
		return dialer.Dial(ctx, link.Target{Kind: link.KindAgent})
	}, session.Config{Name: "HOST " + cfg.Link.Address, ResumeTimeout: time.Second})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return findings(onHost, fmt.Sprintf("The HOST does not answer on %s within %s: is the address right, and the machine up?", cfg.Link.Address, askTimeout))
	case err != nil:
		return findings(onHost, sentence(err))
	}
	s.Close()
	return nil
}

// checkPluginSocket connects to the socket on which containerd finds the plugins.
func checkPluginSocket(ctx context.Context, socket string) []string {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return []string{"The plugin socket is not served, so containerd has neither snapshotter nor differ: " + sentence(err)}
	}
	c.Close()
	return nil
}

// checkMountpoint finds a mount whose daemon has died. A look at such a mount
// fails or waits for ever.
func checkMountpoint(ctx context.Context, dir string) []string {
	answered := make(chan error, 1)
	go func() {
		_, err := os.Stat(dir)
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return []string{fmt.Sprintf("A dead mount is left on %s (%v); offload-dpu takes it away when it starts.", dir, err)}
		}
		return nil
	case <-ctx.Done():
		return []string{fmt.Sprintf("The mount on %s does not answer.", dir)}
	}
}
