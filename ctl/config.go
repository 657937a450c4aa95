// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/configs"
)

func configCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "config",
		Short: "Print and check configuration files",
		Long: `Print the configuration files that are shipped, ready to be installed, or say
all that is wrong with those in use.`,
	})
	for _, f := range []struct{ name, path, what, text string }{
		{"containerd", "/etc/offload/offload.toml", "containerd's configuration on the DPU", configs.Containerd},
		{"dockerd", "/etc/offload/daemon.json", "dockerd's configuration on the DPU", configs.Dockerd},
		{"dpu", config.DefaultDPUPath, "an example of the DPU's configuration, with every key", configs.DPU},
		{"host", config.DefaultHostPath, "an example of the HOST's configuration, with every key", configs.Host},
	} {
		cmd.AddCommand(&cobra.Command{
			Use:     f.name,
			Short:   "Print " + f.what,
			Long:    "Print " + f.what + ".",
			Example: fmt.Sprintf("  offloadctl config %s > %s", f.name, f.path),
			Args:    arguments(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := io.WriteString(cmd.OutOrStdout(), f.text)
				return err
			},
		})
	}
	cmd.AddCommand(configCheckCommand())
	return cmd
}

// problem is one thing that is wrong with a file.
type problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key,omitempty"`
	Text   string `json:"text"`
}

func configCheckCommand() *cobra.Command {
	var (
		dpu, host string
		format    formatFlag
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say all that is wrong with a configuration file",
		Long: `Read a configuration file and the certificates it names, as the daemon would, and
say all that is wrong, a line each with file, line, column and key. Nothing is
started. Without flags, whichever of ` + config.DefaultDPUPath + ` and
` + config.DefaultHostPath + ` is there is checked.`,
		Example: `  offloadctl config check
  offloadctl config check --dpu ./dpu.toml -o json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := filesToCheck(dpu, host)
			if err != nil {
				return err
			}
			problems := []problem{}
			for _, f := range files {
				problems = append(problems, f.problems()...)
			}
			err = format.print(cmd.OutOrStdout(), problems, func(p *printer) {
				for _, one := range problems {
					p.line("%s", one)
				}
				if len(problems) == 0 {
					for _, f := range files {
						p.line("%s: %s", f.path, p.paint(green, "ok"))
					}
				}
			})
			if err == nil && len(problems) > 0 {
				err = errReported
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dpu, "dpu", "", "check `file` as a DPU's configuration")
	cmd.Flags().StringVar(&host, "host", "", "check `file` as a HOST's configuration")
	format.add(cmd)
	return cmd
}

// checked is a file and how it is read.
type checked struct {
	path string
	load func(path string) error
}

func loadDPU(path string) error {
	c, err := config.LoadDPU(path)
	if err != nil {
		return err
	}
	_, err = c.Dialer()
	return err
}

func loadHost(path string) error {
	c, err := config.LoadHost(path)
	if err != nil {
		return err
	}
	_, err = c.Security()
	return err
}

// filesToCheck returns the files that were given, or those that are installed.
func filesToCheck(dpu, host string) ([]checked, error) {
	var files []checked
	if dpu != "" {
		files = append(files, checked{dpu, loadDPU})
	}
	if host != "" {
		files = append(files, checked{host, loadHost})
	}
	if len(files) > 0 {
		return files, nil
	}
	for _, f := range []checked{{config.DefaultDPUPath, loadDPU}, {config.DefaultHostPath, loadHost}} {
		if _, err := os.Stat(f.path); !errors.Is(err, os.ErrNotExist) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("neither %s nor %s is there; name a file with --dpu or --host", config.DefaultDPUPath, config.DefaultHostPath)
	}
	return files, nil
}

func (f checked) problems() []problem {
	err := f.load(f.path)
	if err == nil {
		return nil
	}
	var out []problem
	for _, p := range config.Problems(err) {
		out = append(out, problem{p.File, p.Line, p.Column, p.Key, p.Text})
	}
	if out == nil {
		out = []problem{{File: f.path, Text: err.Error()}}
	}
	return out
}

// String returns the problem as the daemons print it.
func (p problem) String() string {
	return (&config.Problem{File: p.File, Line: p.Line, Column: p.Column, Key: p.Key, Text: p.Text}).Error()
}
