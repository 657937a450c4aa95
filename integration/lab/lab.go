// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Kind says what runs in a lab.
type Kind string

const (
	// Offload is the system under test: stock containerd and dockerd on the DPU, containers on the HOST.
	Offload Kind = "offload"
	// Stock is the same daemons, runc and environment with nothing moved: one environment does it all.
	Stock Kind = "stock"
)

// Options say which lab to open. The zero value is the offload system, built in this repository's build directory.
type Options struct {
	// Kind defaults to Offload.
	Kind Kind
	// Build is the directory that has bin, components/bin and images. By default it is found from the working directory.
	Build string
	// LogDir is where daemons log; it is kept when the lab closes. It defaults to log/KIND in Build.
	LogDir string
	// Bare opens the environments with nothing running in them.
	Bare bool
	// Omit leaves programs out, by environment name: host, dpu or stock.
	Omit map[string][]string
	// HostConfig and DPUConfig are TOML appended to the generated /etc/offload/host.toml and dpu.toml.
	HostConfig, DPUConfig string
	// Link is TOML for the [link] of both.
	Link string
	// DockerdArgs are further arguments for dockerd.
	DockerdArgs []string
	// Between, if set, is called once the HOST's agent runs, and returns the address to which the DPU connects instead of
	// LinkAddress.
	Between func(*Lab) (address string, err error)
	// Cable leads the link through this process, so that it can be disturbed; see [Cable]. CableSeed is its seed.
	Cable     bool
	CableSeed uint64
}

// Lab is an open lab. Its fields are set by Open and not changed after, save the daemons when one is started again.
type Lab struct {
	// Kind is what was opened.
	Kind Kind
	// Host is where containers run. In a stock lab it is the same environment as DPU.
	Host *Env
	// DPU is where containerd, dockerd and their clients are.
	DPU *Env
	// Registry serves the images to the DPU, at RegistryAddress.
	Registry *Registry
	// Cable is the link, if the options asked for one that can be disturbed.
	Cable *Cable

	// The daemons. Agent and Daemon are nil in a stock lab, and all are nil in a bare one.
	Agent, Daemon, Containerd, Dockerd *Process

	options Options
	state   *state
	plugins *os.File // the socket of Daemon, nil before that was started
}

// FindBuild finds the build directory of the repository that the working directory is in.
func FindBuild() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the build directory: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "go.mod")) {
			return filepath.Join(dir, "build"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the build directory: not inside the repository")
		}
	}
}

// Open puts a lab up. If it fails, or ctx ends meanwhile, nothing stays behind. The caller closes it.
func Open(ctx context.Context, options Options) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("open lab: namespaces and mounts need root")
	}
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	l := &Lab{Kind: options.Kind, options: options}
	if l.state, err = newState(options.Kind); err != nil {
		return nil, fmt.Errorf("open lab: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open lab: %w", err), l.Close())
		}
	}()
	if err := l.openEnvironments(ctx); err != nil {
		return nil, err
	}
	if err := l.publish(); err != nil {
		return nil, err
	}
	if options.Bare {
		return l, nil
	}
	return l, l.Start(ctx)
}

// complete fills in the defaults and makes sure that everything to run has been built.
func (o *Options) complete() error {
	if o.Kind == "" {
		o.Kind = Offload
	}
	if o.Kind != Offload && o.Kind != Stock {
		return fmt.Errorf("no such kind of lab: %q", o.Kind)
	}
	if o.Build == "" {
		build, err := FindBuild()
		if err != nil {
			return err
		}
		o.Build = build
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(o.Build, "log", string(o.Kind))
	}
	if err := os.MkdirAll(o.LogDir, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	needs := map[string]string{"components/bin/dockerd": "components", "images/busybox/index.json": "images"}
	if o.Kind == Offload {
		needs["bin/offload-dpu"] = "build"
	}
	for file, target := range needs {
		if !exists(filepath.Join(o.Build, file)) && !o.Bare {
			return fmt.Errorf("%s is not there: run make %s", filepath.Join(o.Build, file), target)
		}
	}
	return nil
}

// components are the pinned programs, and which side of an offload lab has them.
var components = []struct {
	name string
	host bool
	dpu  bool
}{
	{name: "runc", host: true},
	{name: "containerd-shim-runc-v2"},
	{name: "containerd", dpu: true},
	{name: "ctr", dpu: true},
	{name: "dockerd", dpu: true},
	{name: "docker", dpu: true},
	{name: "docker-buildx", dpu: true},
	{name: "docker-compose", dpu: true},
	{name: "docker-proxy", dpu: true},
	{name: "docker-init", dpu: true},
}

// binaries lists what an environment of the name has in its PATH besides the system's own programs.
func (o *Options) binaries(env string) ([]string, error) {
	var files []string
	for _, c := range components {
		if env == string(Stock) || (env == "host" && c.host) || (env == "dpu" && c.dpu) {
			files = append(files, filepath.Join(o.Build, "components/bin", c.name))
		}
	}
	if env != string(Stock) {
		ours, err := filepath.Glob(filepath.Join(o.Build, "bin", "*"))
		if err != nil {
			return nil, fmt.Errorf("list programs: %w", err)
		}
		files = append(files, ours...)
	}
	return slices.DeleteFunc(files, func(file string) bool {
		return !exists(file) || slices.Contains(o.Omit[env], filepath.Base(file))
	}), nil
}

// links are further names of programs. By that of runc's shim containerd finds ours for a runtime that dockerd takes for
// runc; see docs/docker-compat.md.
var links = map[string]map[string]string{"dpu": {"containerd-shim-runc-v2": "containerd-shim-offload-v1"}}

// openEnvironments makes one environment, or two and the link between them.
func (l *Lab) openEnvironments(ctx context.Context) (err error) {
	hs, err := machineHierarchies()
	if err != nil {
		return err
	}
	open := func(name string) (*Env, error) {
		binaries, err := l.options.binaries(name)
		if err != nil {
			return nil, err
		}
		return newEnv(ctx, hs, envSpec{
			name: name, dir: filepath.Join(l.state.dir, name), logDir: l.options.LogDir,
			group: filepath.Join(groupPrefix+l.state.id, name), binaries: binaries, links: links[name], lab: l.state.id,
		})
	}
	if l.Kind == Stock {
		l.DPU, err = open(string(Stock))
		l.Host = l.DPU
		return err
	}
	if l.Host, err = open("host"); err != nil {
		return err
	}
	if l.DPU, err = open("dpu"); err != nil {
		return err
	}
	if err := joinNetworks(l.Host, l.DPU); err != nil || !l.options.Cable {
		return err
	}
	return l.layCable(l.options.CableSeed)
}

// publish lets other processes attach, and starts the logs anew.
func (l *Lab) publish() error {
	old, err := filepath.Glob(filepath.Join(l.options.LogDir, "*.log"))
	if err != nil {
		return fmt.Errorf("remove old logs: %w", err)
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("remove old logs: %w", err)
		}
	}
	pids := map[string]int{}
	for _, e := range l.environments() {
		pids[e.name] = e.pid
	}
	return l.state.publish(stateFile{Kind: l.Kind, Pids: pids})
}

// environments lists each environment once, those that depend on another first.
func (l *Lab) environments() []*Env {
	var envs []*Env
	for _, e := range []*Env{l.DPU, l.Host} {
		if e != nil && !slices.Contains(envs, e) {
			envs = append(envs, e)
		}
	}
	return envs
}

// Start starts the registry and every daemon of a lab that was opened bare.
func (l *Lab) Start(ctx context.Context) (err error) {
	if l.Registry, err = startRegistry(ctx, l.DPU, filepath.Join(l.options.Build, "images")); err != nil {
		return err
	}
	if l.Kind == Offload {
		if err := l.startOffload(ctx); err != nil {
			return err
		}
	}
	if err := l.StartContainerd(ctx); err != nil {
		return err
	}
	return l.StartDockerd(ctx)
}

// ID names the lab on this machine, in the names of its directory and cgroups.
func (l *Lab) ID() string { return l.state.id }

// Image is the name by which the DPU pulls one of the images in the build directory.
func (l *Lab) Image(name string) string { return RegistryAddress + "/" + name + ":latest" }

// Close stops everything and removes what the lab had made. It is safe to call more than once.
func (l *Lab) Close() error {
	if l.state == nil {
		return nil
	}
	var errs []error
	if l.Registry != nil {
		l.Registry.close()
	}
	if l.plugins != nil {
		l.plugins.Close()
	}
	for _, e := range l.environments() {
		if err := e.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", e.name, err))
		}
	}
	if l.Cable != nil {
		l.Cable.close()
	}
	errs = append(errs, l.state.close())
	l.state = nil
	return errors.Join(errs...)
}

// Attach finds the environments of the lab that was put up last on this machine, for another process to run commands
// in. It is not to be closed: it has nothing but commands.
func Attach() (*Lab, error) {
	id, file, err := latestState()
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	hs, err := machineHierarchies()
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	l := &Lab{Kind: file.Kind}
	for name, pid := range file.Pids {
		e, err := attachEnv(hs, envSpec{name: name, group: filepath.Join(groupPrefix+id, name), lab: id}, pid)
		if err != nil {
			return nil, err
		}
		if name != "host" {
			l.DPU = e
		}
		if name != "dpu" {
			l.Host = e
		}
	}
	return l, nil
}

// stopFor stops a daemon, with the patience that a test or a demo has.
func stopFor(ctx context.Context, p *Process) error {
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p.Stop(ctx)
}
