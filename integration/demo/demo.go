// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// Options say how to show it.
type Options struct {
	// Out is where it is told.
	Out io.Writer
	// Colour makes headings stand out.
	Colour bool
	// Build is the build directory.
	Build string
	// Shell, if set, is called before the lab is taken down.
	Shell func(context.Context, *lab.Lab) error
}

// show is one run of the demonstration.
type show struct {
	Options
	lab  *lab.Lab
	step int
}

// Run shows everything. When it returns, nothing of the lab is left on the machine, which it makes sure of.
func Run(ctx context.Context, o Options) error {
	s := &show{Options: o}
	s.heading("Two environments on this machine, HOST and DPU, each with its own root tree, processes, mounts, " +
		"network and cgroups, joined by one veth link")
	begun := time.Now()
	l, err := lab.Open(ctx, lab.Options{Kind: lab.Offload, Build: o.Build})
	if err != nil {
		return err
	}
	s.lab = l
	s.say("up in %v, with its daemons and an image registry", time.Since(begun).Round(10*time.Millisecond))
	err = s.steps(ctx)
	if err == nil && o.Shell != nil {
		s.heading("A shell on the DPU, with docker and ctr. It ends with exit; \"offload-lab shell host\" opens one on the HOST")
		err = o.Shell(ctx, l)
	}
	return errors.Join(err, s.takeDown())
}

// steps shows what there is to see while the lab is up.
func (s *show) steps(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.daemons, s.pull, s.run, s.service, s.files, s.other,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// daemons tells what runs where before there is any container.
func (s *show) daemons(ctx context.Context) error {
	s.heading("What runs on each side before there is a container")
	host, err := s.processes(ctx, s.lab.Host)
	if err != nil {
		return err
	}
	dpu, err := s.processes(ctx, s.lab.DPU)
	if err != nil {
		return err
	}
	if err := only(host, "offload-host", "containerd-shim-offload-host", "rexec"); err != nil {
		return fmt.Errorf("the HOST runs more than it should: %w", err)
	}
	return has(dpu, "containerd", "dockerd", "offload-dpu")
}

// pull brings an image; its layers go to the HOST.
func (s *show) pull(ctx context.Context) error {
	s.heading("docker pull, on the DPU: the layers are unpacked on the HOST")
	if _, err := s.dpu(ctx, "docker", "pull", "-q", s.lab.Image("busybox")); err != nil {
		return err
	}
	_, err := s.on(ctx, s.lab.Host, "du", "-sh", "/var/lib/offload")
	return err
}

// run runs a command in a container and shows what it says of the machine that it is on.
func (s *show) run(ctx context.Context) error {
	s.heading("docker run --rm: the command runs on the HOST, its output and exit status come back")
	out, err := s.dpu(ctx, "docker", "run", "--rm", "--hostname", "guest", s.lab.Image("busybox"),
		"sh", "-c", "echo hello from $(hostname), process $$ in my own namespace")
	if err != nil {
		return err
	}
	if out != "hello from guest, process 1 in my own namespace" {
		return fmt.Errorf("the container says %q", out)
	}
	if _, err := s.dpu(ctx, "docker", "run", "--rm", s.lab.Image("busybox"), "sh", "-c", "exit 7"); lab.ExitCode(err) != 7 {
		return fmt.Errorf("the exit status is not 7: %w", err)
	}
	s.say("exit status 7, as it should be")
	return nil
}

// mark is a command line that is easy to find.
const mark = "sleep 86420"

// service starts a container that stays, and looks for its processes from both sides.
func (s *show) service(ctx context.Context) error {
	s.heading("docker run -d: a container that stays")
	_, err := s.dpu(ctx, "docker", "run", "-d", "--name", "service", s.lab.Image("busybox"),
		"sh", "-c", "trap 'exit 0' TERM; echo started; "+mark+" & wait")
	if err != nil {
		return err
	}
	s.heading("Its processes, seen from the HOST")
	host, err := s.processes(ctx, s.lab.Host)
	if err != nil {
		return err
	}
	if err := has(host, mark); err != nil {
		return err
	}
	s.heading("The same moment, seen from the DPU: a shim, and a shadow that lends the container a pid and a network")
	dpu, err := s.processes(ctx, s.lab.DPU)
	if err != nil {
		return err
	}
	if has(dpu, mark) == nil {
		return errors.New("the DPU sees a process of the container")
	}
	pid, err := s.dpu(ctx, "docker", "inspect", "-f", "{{.State.Pid}}", "service")
	if err != nil {
		return err
	}
	if _, err := s.dpu(ctx, "cat", "/proc/"+pid+"/comm"); err != nil {
		return err
	}
	s.heading("docker exec, logs, stop and rm")
	for _, argv := range [][]string{
		{"docker", "exec", "service", "ps"},
		{"docker", "logs", "service"},
		{"docker", "stop", "service"},
		{"docker", "rm", "service"},
	} {
		if _, err := s.dpu(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// files shows that a path means the DPU's file.
func (s *show) files(ctx context.Context) error {
	s.heading("docker run -v: a directory of the DPU in a container on the HOST")
	if err := s.lab.DPU.WriteFile("/srv/demo/note", []byte("written on the DPU\n"), 0o644); err != nil {
		return err
	}
	out, err := s.dpu(ctx, "docker", "run", "--rm", "-v", "/srv/demo:/data", s.lab.Image("busybox"),
		"sh", "-c", "cat /data/note; echo written in the container > /data/answer")
	if err != nil {
		return err
	}
	answer, err := s.dpu(ctx, "cat", "/srv/demo/answer")
	if err != nil {
		return err
	}
	if out != "written on the DPU" || answer != "written in the container" {
		return fmt.Errorf("the files hold %q and %q", out, answer)
	}
	return nil
}

// other shows that docker is not the only one.
func (s *show) other(ctx context.Context) error {
	s.heading("ctr, on the same containerd")
	for _, argv := range [][]string{
		{"ctr", "image", "pull", "--plain-http", s.lab.Image("busybox")},
		s.lab.CtrRun("--rm", s.lab.Image("busybox"), "demo", "echo", "hello from ctr"),
	} {
		if _, err := s.quietly(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// takeDown closes the lab and looks for what it has left.
func (s *show) takeDown() error {
	s.heading("Taking it down")
	id := s.lab.ID()
	if err := s.lab.Close(); err != nil {
		return err
	}
	traces, err := lab.Traces(id)
	if err != nil {
		return err
	}
	if len(traces) > 0 {
		return fmt.Errorf("left on the machine:\n  %s", strings.Join(traces, "\n  "))
	}
	s.say("no process, mount, network namespace, cgroup or file of it is left on this machine")
	return nil
}
