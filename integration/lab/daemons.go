// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Where things are inside the environments.
const (
	// LinkAddress is where the HOST's agent listens.
	LinkAddress = "tcp://" + HostAddress + ":7600"
	linkSocket  = HostAddress + ":7600"

	hostConfig       = "/etc/offload/host.toml"
	hostAllow        = "/etc/offload/rexec.toml"
	dpuConfig        = "/etc/offload/dpu.toml"
	certificates     = "/etc/offload/certs"
	pluginSocket     = "/run/offload/plugins.sock"
	statusSocket     = "/run/offload/dpu/status.sock"
	containerdConfig = "/etc/containerd/offload.toml"
	containerdSocket = "/run/containerd/containerd.sock"
	dockerSocket     = "/run/docker.sock"
	dockerConfig     = "/etc/docker/daemon.json"
)

// stockContainerd is containerd's configuration where nothing is moved: its defaults, without the CRI that no test
// of a stock lab uses.
const stockContainerd = `version = 3
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
`

// stockDockerd is dockerd's configuration where nothing is moved: the containerd image store, as in the offload system.
const stockDockerd = `{
  "containerd": "` + containerdSocket + `",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "features": {"containerd-snapshotter": true}
}
`

// startOffload writes both sides' certificates and configuration, and starts the agent and the DPU's daemon.
func (l *Lab) startOffload(ctx context.Context) error {
	if err := l.installCertificates(ctx); err != nil {
		return err
	}
	text := func(key, address, name, more string) []byte {
		return fmt.Appendf(nil, "version = 1\n\n[link]\n%s = %q\n%s\n[link.tls]\nca = %q\ncert = %q\nkey = %q\n%s",
			key, address, l.options.Link, certificates+"/ca.crt", certificates+"/"+name+".crt", certificates+"/"+name+".key", more)
	}
	allow, err := l.shippedConfig("rexec.toml")
	if err != nil {
		return fmt.Errorf("configure the host: %w", err)
	}
	if err := l.Host.WriteFile(hostAllow, allow, 0o600); err != nil {
		return fmt.Errorf("configure the host: %w", err)
	}
	more := fmt.Sprintf("\n[rexec]\nallow = %q\n%s", hostAllow, l.options.HostConfig)
	if err := l.Host.WriteFile(hostConfig, text("listen", LinkAddress, "host", more), 0o600); err != nil {
		return fmt.Errorf("configure the host: %w", err)
	}
	if err := l.StartAgent(ctx); err != nil {
		return err
	}
	address := LinkAddress
	if l.options.Between != nil {
		if address, err = l.options.Between(l); err != nil {
			return fmt.Errorf("stand between host and dpu: %w", err)
		}
	}
	if err := l.DPU.WriteFile(dpuConfig, text("address", address, "dpu", l.options.DPUConfig), 0o600); err != nil {
		return fmt.Errorf("configure the dpu: %w", err)
	}
	return l.StartDaemon(ctx)
}

// installCertificates makes a certificate authority on the DPU and gives each side its own certificate and key only.
func (l *Lab) installCertificates(ctx context.Context) error {
	const made = "/root/pki"
	if _, err := l.DPU.Command(ctx, "offloadctl", "pki", "init", "--dir", made).Output(); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	for name, env := range map[string]*Env{"host": l.Host, "dpu": l.DPU} {
		for _, file := range []string{"ca.crt", name + ".crt", name + ".key"} {
			text, err := l.DPU.ReadFile(filepath.Join(made, file))
			if err != nil {
				return fmt.Errorf("install certificates: %w", err)
			}
			if err := env.WriteFile(filepath.Join(certificates, file), text, 0o600); err != nil {
				return fmt.Errorf("install certificates: %w", err)
			}
		}
	}
	return nil
}

// StartAgent starts the HOST's agent, for the first time or again.
func (l *Lab) StartAgent(ctx context.Context) (err error) {
	l.Agent, err = l.Host.Start(ctx, Daemon{
		Name: "offload-host", Argv: []string{"offload-host"}, Ready: l.Host.Accepts("tcp", linkSocket),
	})
	return err
}

// StartDaemon starts the DPU's daemon, for the first time or again. The lab holds the socket of its plugins, as the
// shipped unit does.
func (l *Lab) StartDaemon(ctx context.Context) (err error) {
	if l.plugins == nil {
		if l.plugins, err = l.DPU.hold(pluginSocket); err != nil {
			return fmt.Errorf("hold the socket of offload-dpu: %w", err)
		}
	}
	l.Daemon, err = l.DPU.Start(ctx, Daemon{
		Name: "offload-dpu", Argv: []string{"offload-dpu"}, Sockets: []*os.File{l.plugins},
		Ready: l.DPU.Accepts("unix", statusSocket),
	})
	return err
}

// StartContainerd starts containerd, for the first time or again. In an offload lab its configuration is the
// repository's configs/offload.toml as it is.
func (l *Lab) StartContainerd(ctx context.Context) (err error) {
	text := []byte(stockContainerd)
	if l.Kind == Offload {
		if text, err = l.shippedConfig("offload.toml"); err != nil {
			return fmt.Errorf("configure containerd: %w", err)
		}
	}
	if err := l.DPU.WriteFile(containerdConfig, text, 0o644); err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	l.Containerd, err = l.DPU.Start(ctx, Daemon{
		Name: "containerd", Argv: []string{"containerd", "--config", containerdConfig},
		Ready: l.DPU.Accepts("unix", containerdSocket), Patience: time.Minute,
	})
	return err
}

// StartDockerd starts dockerd on the running containerd, for the first time or again. In an offload lab its
// configuration is the repository's configs/daemon.json as it is.
func (l *Lab) StartDockerd(ctx context.Context) (err error) {
	text := []byte(stockDockerd)
	if l.Kind == Offload {
		if text, err = l.shippedConfig("daemon.json"); err != nil {
			return fmt.Errorf("configure dockerd: %w", err)
		}
	}
	if err := l.DPU.WriteFile(dockerConfig, text, 0o644); err != nil {
		return fmt.Errorf("configure dockerd: %w", err)
	}
	argv := []string{"dockerd"}
	if l.Kind == Offload {
		// As the shipped unit does.
		argv = []string{
			"env", "DOCKER_BUILDKIT_RUNC_COMMAND=offload-runc", "offloadctl", "run", "--unit", "docker", "--", "dockerd",
		}
	}
	l.Dockerd, err = l.DPU.Start(ctx, Daemon{
		Name: "dockerd", Argv: append(argv, l.options.DockerdArgs...), Ready: l.dockerAnswers, Patience: time.Minute,
	})
	return err
}

// shippedConfig reads a file that the repository ships for users.
func (l *Lab) shippedConfig(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(filepath.Dir(l.options.Build), "configs", name))
}

// dockerAnswers is dockerd's readiness: it listens before it can answer.
func (l *Lab) dockerAnswers(ctx context.Context) error {
	conn, err := l.DPU.Dial(ctx, "unix", dockerSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")); err != nil {
		return err
	}
	answer := make([]byte, len("HTTP/1.0 200"))
	if _, err := conn.Read(answer); err != nil {
		return err
	}
	if string(answer[len(answer)-3:]) != "200" {
		return errors.New("dockerd answers " + string(answer))
	}
	return nil
}

// CtrRun is the command line of ctr run in this lab. ctr does not ask containerd for the runtime that containers have
// by default, nor for the snapshotter.
func (l *Lab) CtrRun(args ...string) []string {
	argv := []string{"ctr", "run"}
	if l.Kind == Offload {
		argv = append(argv, "--runtime", "io.containerd.offload.v1", "--snapshotter", "offload")
	}
	return append(argv, args...)
}

// StopDaemons stops what Open started, DPU first, each as an operator would.
func (l *Lab) StopDaemons(ctx context.Context) error {
	var errs []error
	for _, p := range []*Process{l.Dockerd, l.Containerd, l.Daemon, l.Agent} {
		errs = append(errs, stopFor(ctx, p))
	}
	return errors.Join(errs...)
}
