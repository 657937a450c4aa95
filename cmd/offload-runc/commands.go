// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/shim/standin"
)

// commands is the command line. Its global flags are runc's; those that say how
// runc works on its own machine are taken and mean nothing here.
type commands struct {
	rootDir, log, logFormat string
	debug                   bool
}

func (c *commands) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "offload-runc",
		Short: "runc's command line, for containers that run on the HOST",
		Long: `offload-runc takes the place of runc on the DPU for programs that call runc
themselves, such as the BuildKit in dockerd. The containers run on the HOST.`,
		Example: `  DOCKER_BUILDKIT_RUNC_COMMAND=offload-runc dockerd
  offload-runc --version
  offload-runc run --bundle /path/to/bundle mycontainer`,
		SilenceUsage: true, SilenceErrors: true,
		RunE: c.version,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&c.rootDir, "root", "", "`directory` of the containers' state (default: runc in state.dir of the configuration)")
	f.StringVar(&c.log, "log", "", "`file` to which errors are also written")
	f.StringVar(&c.logFormat, "log-format", "text", "format of the log: text or json")
	f.BoolVar(&c.debug, "debug", false, "write more")
	f.Bool("systemd-cgroup", false, "taken and ignored: the HOST's configuration says")
	f.String("rootless", "", "taken and ignored: the HOST's agent is root")
	cmd.Flags().BoolP("version", "v", false, "print the version of the HOST's runc")
	cmd.AddCommand(c.run(), c.exec(), c.state(), c.list(), c.kill(), c.delete(), c.ps(), c.pause(), c.resume(), c.features())
	return cmd
}

func (c *commands) version(cmd *cobra.Command, args []string) error {
	if v, _ := cmd.Flags().GetBool("version"); !v || len(args) > 0 {
		return cmd.Usage()
	}
	text, err := c.runtime().Version(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Print(text)
	return nil
}

func (c *commands) runtime() *standin.Runtime {
	level := slog.LevelWarn
	if c.debug {
		level = slog.LevelDebug
	}
	root := c.rootDir
	if root == "" {
		dir := config.DefaultDPU().State.Dir
		if cfg, err := config.LoadDPU(config.PathFromEnv(config.DefaultDPUPath)); err == nil {
			dir = cfg.State.Dir
		}
		root = filepath.Join(dir, "runc")
	}
	return &standin.Runtime{Root: root, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))}
}

// local are flags of runc that say how it works on its own machine.
func local(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Bool("no-pivot", false, "taken and ignored")
	f.Bool("no-new-keyring", false, "taken and ignored")
	f.Bool("no-subreaper", false, "taken and ignored")
}

func (c *commands) run() *cobra.Command {
	var o standin.RunOptions
	cmd := &cobra.Command{
		Use: "run ID", Short: "Run a container until it ends", Args: cobra.ExactArgs(1),
		Example: "  offload-runc run --bundle . mycontainer",
		RunE: func(cmd *cobra.Command, args []string) error {
			return ended(c.runtime().Run(cmd.Context(), args[0], o))
		},
	}
	cmd.Flags().StringVarP(&o.Bundle, "bundle", "b", ".", "`directory` with config.json")
	cmd.Flags().StringVar(&o.PidFile, "pid-file", "", "`file` for the pid that stands for the container on this machine")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "keep the state until delete")
	local(cmd)
	return cmd
}

func (c *commands) exec() *cobra.Command {
	var o standin.ExecOptions
	var process, cwd, user string
	var env []string
	var tty bool
	cmd := &cobra.Command{
		Use: "exec ID [COMMAND ARGS...]", Short: "Run a further process in a container", Args: cobra.MinimumNArgs(1),
		Example: "  offload-runc exec mycontainer ps\n  offload-runc exec --process process.json mycontainer",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if process != "" {
				err = readJSON(process, &o.Process)
			} else {
				o.Process, err = newProcess(args[1:], cwd, user, env, tty)
			}
			if err != nil {
				return err
			}
			return ended(c.runtime().Exec(cmd.Context(), args[0], o))
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&process, "process", "p", "", "`file` with the process in the form of the runtime specification")
	f.StringVar(&o.PidFile, "pid-file", "", "`file` for the pid that stands for the process on this machine")
	f.StringVar(&cwd, "cwd", "/", "working `directory` in the container")
	f.StringVarP(&user, "user", "u", "", "`UID[:GID]` in the container")
	f.StringArrayVarP(&env, "env", "e", nil, "`NAME=VALUE`, as often as need be")
	f.BoolVarP(&tty, "tty", "t", false, "give the process a terminal")
	local(cmd)
	return cmd
}

func newProcess(args []string, cwd, user string, env []string, tty bool) (specs.Process, error) {
	p := specs.Process{Args: args, Cwd: cwd, Env: env, Terminal: tty}
	if len(args) == 0 {
		return p, fmt.Errorf("no command to run, and no --process")
	}
	if len(env) == 0 {
		p.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	if user == "" {
		return p, nil
	}
	uid, gid, both := strings.Cut(user, ":")
	for _, id := range []struct {
		text string
		to   *uint32
	}{{uid, &p.User.UID}, {gid, &p.User.GID}} {
		if id.text == "" && !both {
			continue
		}
		n, err := strconv.ParseUint(id.text, 10, 32)
		if err != nil {
			return p, fmt.Errorf("user %q is not UID[:GID]", user)
		}
		*id.to = uint32(n)
	}
	return p, nil
}

// ended turns a container's exit status into this program's.
func ended(status int, err error) error {
	if err == nil && status != 0 {
		return exitStatus(status)
	}
	return err
}

func (c *commands) state() *cobra.Command {
	return &cobra.Command{
		Use: "state ID", Short: "Tell about a container", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := c.runtime().State(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(s)
		},
	}
}

func (c *commands) list() *cobra.Command {
	var format string
	var quiet bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the containers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.runtime().List(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return show(all)
			}
			for _, s := range all {
				if quiet {
					fmt.Println(s.ID)
				} else {
					fmt.Printf("%-30s %-8d %-8s %s\n", s.ID, s.Pid, s.Status, s.Bundle)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "ids only")
	return cmd
}

func (c *commands) kill() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "kill ID [SIGNAL]", Short: "Send a signal to a container", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sig, err := parseSignal(append(args, "TERM")[1])
			if err != nil {
				return err
			}
			return c.runtime().Kill(cmd.Context(), args[0], sig, all)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "to all its processes")
	return cmd
}

func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

func (c *commands) delete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "delete ID", Short: "Remove a container that has ended", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runtime().Delete(cmd.Context(), args[0], force)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "end it first if it runs")
	return cmd
}

func (c *commands) ps() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "ps ID", Short: "List a container's process ids on the HOST", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pids, err := c.runtime().Pids(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if format == "json" {
				return show(pids)
			}
			for _, pid := range pids {
				fmt.Println(pid)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "table", "table or json")
	return cmd
}

func (c *commands) pause() *cobra.Command {
	return c.simple("pause ID", "Freeze a container", (*standin.Runtime).Pause)
}

func (c *commands) resume() *cobra.Command {
	return c.simple("resume ID", "Thaw a container", (*standin.Runtime).Resume)
}

func (c *commands) simple(use, short string, do func(*standin.Runtime, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return do(c.runtime(), cmd.Context(), args[0]) },
	}
}

func (c *commands) features() *cobra.Command {
	return &cobra.Command{
		Use: "features", Short: "Print the features of the HOST's runc", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := c.runtime().Features(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Print(text)
			return nil
		},
	}
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
