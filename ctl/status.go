// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/status"
)

func statusCommand() *cobra.Command {
	var (
		machine machineFlags
		format  formatFlag
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the daemons are doing",
		Long: `Ask the daemon of this machine what it is doing and, on a DPU, the agent of its
HOST over the link. Ends with status 1 if one of them does not answer.`,
		Example: "  offloadctl status\n  offloadctl status -o json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			reports, err := askAll(cmd.Context(), &machine)
			if err != nil {
				return err
			}
			err = format.print(cmd.OutOrStdout(), reports, func(p *printer) {
				for i, d := range reports {
					if i > 0 {
						p.line("")
					}
					printDaemon(p, d, time.Now())
				}
			})
			if err == nil && unanswered(reports) != nil {
				err = errReported
			}
			return err
		},
	}
	machine.add(cmd)
	format.add(cmd)
	return cmd
}

func askAll(ctx context.Context, flags *machineFlags) ([]daemonReport, error) {
	m, err := flags.load()
	if err != nil {
		return nil, err
	}
	return m.ask(ctx)
}

func printDaemon(p *printer, d daemonReport, now time.Time) {
	if d.Report == nil {
		p.line("%s  %s", p.paint(bold, d.On), p.paint(red, d.Error))
		return
	}
	r := d.Report
	p.line("%s  %s %s, pid %d, up %s", p.paint(bold, d.On), r.Daemon, r.Version, r.PID, since(r.Started, now))
	for _, l := range r.Links {
		p.line("  link     %s %s, %s, %s in, %s out, %s", p.paint(linkStyle(l.State), string(l.State)), l.Address,
			count(l.Streams, "stream"), size(l.BytesIn), size(l.BytesOut), l.Security)
		if l.Error != "" {
			p.line("           %s", l.Error)
		}
	}
	for _, m := range r.Mounts {
		state := cell{"mounted", green}
		if !m.Mounted {
			state = cell{"not mounted", red}
		}
		p.line("  mount    %s %s on %s", p.paint(state.style, state.text), m.Source, m.Target)
	}
	p.line("  shims    %s", shimSummary(r.Shims))
	if s := r.Store; s != nil {
		p.line("  store    %s committed, %s, %s, %d mounted, %s of %s free on %s", strconv.Itoa(s.Committed),
			strconv.Itoa(s.Active)+" active", count(s.Views, "view"), s.Mounted, size(s.FreeBytes), size(s.TotalBytes), s.Root)
	} else {
		p.line("  shadows  %d", len(r.Shadows))
	}
	for _, problem := range r.Problems {
		p.line("  %s  %s", p.paint(yellow, "problem"), problem)
	}
}

func shimSummary(shims []status.Shim) string {
	counts := map[string]int{}
	for _, s := range shims {
		counts[s.State]++
	}
	parts := []string{strconv.Itoa(counts[status.ShimRunning]) + " running"}
	for _, state := range []string{status.ShimWarm, status.ShimDead} {
		if counts[state] > 0 {
			parts = append(parts, strconv.Itoa(counts[state])+" "+state)
		}
	}
	return strings.Join(parts, ", ")
}

func linkStyle(s status.LinkState) style {
	switch s {
	case status.LinkUp:
		return green
	case status.LinkConnecting:
		return red
	}
	return yellow
}

// count says how many there are of a thing.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// size says how many bytes there are, in units of 1024.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	value, i := float64(n), 0
	for value >= 1024 && i < len(units)-1 {
		value /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}

// since says how long ago something was, to the second below an hour and in two
// units above.
func since(t, now time.Time) string {
	d := max(now.Sub(t), 0)
	switch {
	case t.IsZero():
		return ""
	case d < time.Hour:
		return d.Truncate(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// on is an element of a report and the machine whose it is.
type on[T any] struct {
	On   string `json:"on"`
	Item T      `json:"item"`
}

// listing is a command that shows one list of the reports.
type listing[T any] struct {
	use, short, long string
	heading          []string
	items            func(*status.Report) []T
	row              func(T, time.Time) []cell
}

func (l listing[T]) command() *cobra.Command {
	var (
		machine machineFlags
		format  formatFlag
	)
	cmd := &cobra.Command{
		Use: l.use, Short: l.short, Long: l.long,
		Example: fmt.Sprintf("  offloadctl %s\n  offloadctl %s -o json", l.use, l.use),
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			reports, err := askAll(cmd.Context(), &machine)
			if err != nil {
				return err
			}
			if err := l.print(cmd.OutOrStdout(), &format, reports); err != nil {
				return err
			}
			return unanswered(reports)
		},
	}
	machine.add(cmd)
	format.add(cmd)
	return cmd
}

func (l listing[T]) print(w io.Writer, format *formatFlag, reports []daemonReport) error {
	all := []on[T]{}
	for _, d := range reports {
		if d.Report == nil {
			continue
		}
		for _, item := range l.items(d.Report) {
			all = append(all, on[T]{d.On, item})
		}
	}
	now := time.Now()
	rows := make([][]cell, len(all))
	for i, o := range all {
		rows[i] = append(cells(o.On), l.row(o.Item, now)...)
	}
	slices.SortStableFunc(rows, func(a, b []cell) int {
		return slices.CompareFunc(a, b, func(x, y cell) int { return cmp.Compare(x.text, y.text) })
	})
	return format.print(w, all, func(p *printer) { p.table(append([]string{"ON"}, l.heading...), rows) })
}

func linksCommand() *cobra.Command {
	return listing[status.Link]{
		"links", "Show the sessions between the machines",
		"Show the sessions between the daemons of DPU and HOST. Each shim has one more, which\nis its own.",
		[]string{"PEER", "ADDRESS", "STATE", "SINCE", "STREAMS", "IN", "OUT", "RECONNECTS", "SECURITY", "ERROR"},
		func(r *status.Report) []status.Link { return r.Links },
		func(l status.Link, now time.Time) []cell {
			row := cells(l.Peer, l.Address, string(l.State), since(l.Since, now), strconv.Itoa(l.Streams), size(l.BytesIn),
				size(l.BytesOut), strconv.FormatUint(l.Reconnects, 10), l.Security, l.Error)
			row[2].style = linkStyle(l.State)
			return row
		},
	}.command()
}

func mountsCommand() *cobra.Command {
	return listing[status.Mount]{
		"mounts", "Show the HOST's directories that are mounted, with their traffic",
		"Show the directories of the HOST that offload-dpu keeps mounted, and what went over\neach since it was mounted.",
		[]string{"SOURCE", "MOUNTPOINT", "STATE", "SINCE", "REQUESTS", "ERRORS", "IN FLIGHT", "READ", "WRITTEN", "NODES", "OPEN", "ERROR"},
		func(r *status.Report) []status.Mount { return r.Mounts },
		func(m status.Mount, now time.Time) []cell {
			state := cell{"mounted", green}
			if m.ReadOnly {
				state.text = "read-only"
			}
			if !m.Mounted {
				state = cell{"waiting", red}
			}
			row := cells(m.Source, m.Target, "", since(m.Since, now), strconv.FormatUint(m.Requests, 10), strconv.FormatUint(m.Errors, 10),
				strconv.Itoa(m.InFlight), size(m.ReadBytes), size(m.WrittenBytes), strconv.Itoa(m.Nodes), strconv.Itoa(m.Handles), m.Error)
			row[2] = state
			return row
		},
	}.command()
}

func shimsCommand() *cobra.Command {
	return listing[status.Shim]{
		"shims", "Show both halves of every pod's shim",
		"Show the halves of shims: a pod has one on each machine. Those that are warm wait on\nthe HOST for a pod.",
		[]string{"NAMESPACE", "POD", "PID", "STATE", "UP"},
		func(r *status.Report) []status.Shim { return r.Shims },
		func(s status.Shim, now time.Time) []cell {
			row := cells(s.Namespace, s.ID, strconv.Itoa(s.PID), s.State, since(s.Started, now))
			if s.State == status.ShimDead {
				row[3].style = red
			}
			return row
		},
	}.command()
}

func shadowsCommand() *cobra.Command {
	return listing[status.Shadow]{
		"shadows", "Show the processes that stand on the DPU for tasks of the HOST",
		"Show the shadows: for each task of the HOST, the process whose pid and namespaces\ncontainerd and dockerd are given on the DPU.",
		[]string{"NAMESPACE", "POD", "TASK", "PID"},
		func(r *status.Report) []status.Shadow { return r.Shadows },
		func(s status.Shadow, _ time.Time) []cell {
			return cells(s.Namespace, s.Shim, s.ID, strconv.Itoa(s.PID))
		},
	}.command()
}
