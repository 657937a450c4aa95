// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
)

// askTimeout bounds how long a daemon may take to answer.
const askTimeout = 2 * time.Second

// machineFlags say which daemons of this machine are meant.
type machineFlags struct{ dpu, host string }

func (f *machineFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dpu, "dpu", "", "the DPU's configuration `file`, if it is not in its usual place")
	cmd.Flags().StringVar(&f.host, "host", "", "the HOST's configuration `file`, if it is not in its usual place")
}

// machine is what this machine is by its configuration: a DPU, a HOST, or both.
type machine struct {
	dpuFile, hostFile string // empty if it is not that
	dpu               *config.DPU
	host              *config.Host
	dpuErr, hostErr   error // why dpu or host is nil
}

// load reads the configuration files that were given, or those that are there.
func (f *machineFlags) load() (*machine, error) {
	m := &machine{dpuFile: f.dpu, hostFile: f.host}
	if f.dpu == "" && f.host == "" {
		m.dpuFile, m.hostFile = present(config.DefaultDPUPath), present(config.DefaultHostPath)
	}
	if m.dpuFile == "" && m.hostFile == "" {
		return nil, fmt.Errorf("this is neither a DPU nor a HOST: neither %s nor %s is there; name a file with --dpu or --host",
			config.DefaultDPUPath, config.DefaultHostPath)
	}
	if m.dpuFile != "" {
		m.dpu, m.dpuErr = config.LoadDPU(m.dpuFile)
	}
	if m.hostFile != "" {
		m.host, m.hostErr = config.LoadHost(m.hostFile)
	}
	return m, nil
}

// present returns the path if something is there, or "".
func present(path string) string {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}

// The two kinds of machine, as results name them.
const (
	onDPU  = "DPU"
	onHost = "HOST"
)

// daemonReport is what one daemon said, or why it said nothing.
type daemonReport struct {
	// On is the machine the daemon is on, DPU or HOST.
	On     string         `json:"on"`
	Report *status.Report `json:"report,omitempty"`
	Error  string         `json:"error,omitempty"`
}

// ask asks the daemons of this machine, and through that of a DPU its HOST's.
func (m *machine) ask(ctx context.Context) ([]daemonReport, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := errors.Join(m.dpuErr, m.hostErr); err != nil {
		return nil, err
	}
	var out []daemonReport
	add := func(on string, ask func(context.Context, string) (*status.Report, error), dir string) {
		d := daemonReport{On: on}
		var err error
		if d.Report, err = ask(ctx, filepath.Join(dir, status.SocketName)); err != nil {
			d.Error = err.Error()
		}
		out = append(out, d)
	}
	if m.dpu != nil {
		add(onDPU, status.Get, m.dpu.State.Dir)
	}
	if m.host != nil {
		add(onHost, status.Get, m.host.State.Dir)
	} else if out[0].Report != nil {
		add(onHost, status.GetPeer, m.dpu.State.Dir)
	}
	return out, nil
}

// unanswered is an error if a daemon of this machine said nothing.
func unanswered(reports []daemonReport) error {
	for _, d := range reports {
		if d.Report == nil {
			return errors.New(d.Error)
		}
	}
	return nil
}
