// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/rexec/client"
	"github.com/container-offload/offload/rexec/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// withSession does something with a session and ends it.
func (r *runFlags) withSession(ctx context.Context, do func(*session.Session) error) error {
	sess, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer sess.Close()
	return do(sess)
}

// runIDs completes the ids of runs.
func (r *runFlags) runIDs(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var ids []cobra.Completion
	err := r.withSession(cmd.Context(), func(sess *session.Session) error {
		runs, err := client.List(cmd.Context(), sess)
		for _, run := range runs {
			ids = append(ids, cobra.CompletionWithDesc(run.ID, strings.Join(run.Command, " ")))
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func psCommand(r *runFlags) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the programs that the server runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.withSession(cmd.Context(), func(sess *session.Session) error {
				runs, err := client.List(cmd.Context(), sess)
				if err != nil {
					return fmt.Errorf("list runs: %w", err)
				}
				return printRuns(os.Stdout, output, runs)
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// outputFlag adds the flag for the form of what is printed.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "`form` of the output: table or json")
	// It fails only if there is no such flag.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// runJSON is a run as "-o json" prints it.
type runJSON struct {
	ID       string    `json:"id"`
	PID      int32     `json:"pid"`
	User     string    `json:"user"`
	Who      string    `json:"who"`
	Command  []string  `json:"command"`
	Started  time.Time `json:"started"`
	State    string    `json:"state"`
	Attached bool      `json:"attached"`
	Detach   bool      `json:"detach"`
	Status   *int      `json:"status,omitempty"`
	Signal   string    `json:"signal,omitempty"`
}

func printRuns(w io.Writer, output string, runs []wire.RunInfo) error {
	switch output {
	case "json":
		return printRunsJSON(w, runs)
	case "table":
		return printRunsTable(w, runs)
	}
	return fmt.Errorf("output %q is neither table nor json", output)
}

func printRunsJSON(w io.Writer, runs []wire.RunInfo) error {
	out := make([]runJSON, 0, len(runs))
	for _, r := range runs {
		j := runJSON{
			ID: r.ID, PID: r.Pid, User: r.User, Who: r.Caller, Command: r.Command, Started: r.Started,
			State: r.State, Attached: r.Attached, Detach: r.Detach, Signal: r.Status.Signal,
		}
		if r.State == "ended" && r.Status.Signal == "" {
			code := int(r.Status.Code)
			j.Status = &code
		}
		out = append(out, j)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func printRunsTable(w io.Writer, runs []wire.RunInfo) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPID\tUSER\tSTATE\tSINCE\tCOMMAND")
	for _, r := range runs {
		state := r.State
		switch {
		case state == "ended" && r.Status.Signal != "":
			state = "ended by " + r.Status.Signal
		case state == "ended":
			state = fmt.Sprintf("ended with %d", r.Status.Code)
		case !r.Attached:
			state += ", detached"
		}
		since := time.Since(r.Started).Round(time.Second)
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", printable(r.ID), r.Pid, printable(r.User), printable(state), since, printable(strings.Join(r.Command, " ")))
	}
	return t.Flush()
}

// printable makes a text of the peer's fit for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func waitCommand(r *runFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait RUN",
		Short: "Wait for a program and end as it ends",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.withSession(cmd.Context(), func(sess *session.Session) error {
				status, err := client.Wait(cmd.Context(), sess, args[0])
				return ended("wait for", args[0], status, err)
			})
		},
	}
	cmd.ValidArgsFunction = r.runIDs
	return cmd
}

// ended makes an error of how a run ended.
func ended(doing, id string, status *wire.Exited, err error) error {
	if err != nil {
		return fmt.Errorf("%s run %s: %w", doing, id, err)
	}
	if *status == (wire.Exited{}) {
		return nil
	}
	return &endedError{*status}
}

func killCommand(r *runFlags) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:   "kill RUN...",
		Short: "Send a signal to programs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := wire.ParseSignal(signal); err != nil {
				return err
			}
			return r.withSession(cmd.Context(), func(sess *session.Session) error {
				for _, id := range args {
					if err := client.Kill(cmd.Context(), sess, id, signal); err != nil {
						return fmt.Errorf("kill run %s: %w", id, err)
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "TERM", "`signal` by name")
	cmd.ValidArgsFunction = r.runIDs
	return cmd
}

func attachCommand(r *runFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attach RUN",
		Short: "Go on with a program that has no client",
		Long: `attach makes this process the client of a program that was started with --detach
or --background. It prints what is kept of the output, 256 KiB at most, and goes
on from there. The program outlives this client, too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sess, err := r.connect(cmd.Context())
			if err != nil {
				return err
			}
			status, err := client.Attach(cmd.Context(), sess, args[0])
			return ended("attach to", args[0], status, err)
		},
	}
	cmd.ValidArgsFunction = r.runIDs
	return cmd
}
