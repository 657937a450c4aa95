// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/bridge"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

func bridgeCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "bridge",
		Short: "Lead programs to unix sockets of the other machine",
		Long: `Show and change which unix sockets are bridged by the daemon of this machine. A
socket is reached only if this machine says that it lives on the other one, and the
other one says that it may be reached. What is to be there after the next boot
belongs into [[bridge]] of dpu.toml or host.toml.`,
	})
	cmd.AddCommand(bridgeListCommand(), bridgeAddCommand(), bridgeRemoveCommand(), bridgeTestCommand())
	return cmd
}

func bridgeListCommand() *cobra.Command {
	var (
		machine machineFlags
		format  formatFlag
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the rules of the bridge and the sockets they bring",
		Long:    "List the rules of the bridge, the other machine's sockets that can be reached by them, and what is wrong.",
		Example: "  offloadctl bridge list\n  offloadctl bridge list -o json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s bridge.Status
			if err := askBridge(cmd.Context(), &machine, http.MethodGet, nil, nil, &s); err != nil {
				return err
			}
			return format.print(cmd.OutOrStdout(), s, func(p *printer) { printBridge(p, s) })
		},
	}
	machine.add(cmd)
	format.add(cmd)
	return cmd
}

func printBridge(p *printer, s bridge.Status) {
	var rows [][]cell
	for _, r := range s.Rules {
		detail := r.Technique
		if r.Direction == config.BridgeServe {
			detail = "as " + r.As
		}
		peer := r.PeerPath
		if peer == r.Path {
			peer = ""
		}
		row := cells(r.Direction, r.Path, peer, detail, strconv.Itoa(len(r.Sockets)), r.Problem)
		row[5].style = yellow
		rows = append(rows, row)
		for _, path := range r.Sockets {
			if path != r.Path {
				rows = append(rows, cells("", "  "+path, "", "", "", ""))
			}
		}
	}
	p.table([]string{"DIRECTION", "PATH", "ON THE PEER", "HOW", "SOCKETS", "PROBLEM"}, rows)
	if s.Problem != "" {
		p.line("Last problem: %s", p.paint(yellow, s.Problem))
	}
}

func bridgeAddCommand() *cobra.Command {
	var (
		machine machineFlags
		rule    config.Bridge
		serve   bool
	)
	cmd := &cobra.Command{
		Use:   "add PATH [PATH-ON-THE-PEER]",
		Short: "Add a rule until it is removed or the machine boots",
		Long: `Say that sockets at or below PATH live on the other machine, there at
PATH-ON-THE-PEER if that is another path. With --serve, say that programs of the other
machine may reach sockets at or below PATH of this one. @NAME is an abstract socket.
The rule outlives restarts of the daemon.`,
		Example: "  offloadctl bridge add /run/postgresql\n  offloadctl bridge add --serve /run/syslog.sock --as 0:0\n  offloadctl bridge add @app --technique mirror",
		Args:    arguments(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			rule.Path, rule.Direction = args[0], config.BridgeConnect
			if serve {
				rule.Direction = config.BridgeServe
			}
			if len(args) > 1 {
				rule.PeerPath = args[1]
			}
			if _, _, err := config.BridgeRules([]config.Bridge{rule}, policy.Nobody); err != nil {
				return &usageError{errors.New(strings.TrimPrefix(err.Error(), "bridge[0]: "))}
			}
			body, err := json.Marshal(rule)
			if err != nil {
				return err
			}
			return askBridge(cmd.Context(), &machine, http.MethodPut, nil, body, nil)
		},
	}
	cmd.Flags().BoolVar(&serve, "serve", false, "let the other machine reach sockets of this one")
	cmd.Flags().StringVar(&rule.Technique, "technique", "", "mirror or hook (default mirror)")
	cmd.Flags().StringVar(&rule.As, "as", "", "with --serve, as whom programs of the other machine connect: same or `UID:GID`")
	machine.add(cmd)
	return cmd
}

func bridgeRemoveCommand() *cobra.Command {
	var machine machineFlags
	cmd := &cobra.Command{
		Use:     "remove PATH",
		Short:   "Remove a rule that was added by \"offloadctl bridge add\"",
		Long:    "Remove a rule that was added by \"offloadctl bridge add\". Connections that are open go on.",
		Example: "  offloadctl bridge remove /run/postgresql",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return askBridge(cmd.Context(), &machine, http.MethodDelete, url.Values{"path": {args[0]}}, nil, nil)
		},
	}
	machine.add(cmd)
	return cmd
}

func bridgeTestCommand() *cobra.Command {
	var (
		machine machineFlags
		format  formatFlag
	)
	cmd := &cobra.Command{
		Use:   "test PATH",
		Short: "Connect to a socket of the other machine and hang up",
		Long: `Connect to the socket of the other machine that PATH of this one stands for, and hang
up. The program there sees a connection that ends at once.`,
		Example: "  offloadctl bridge test /run/postgresql/.s.PGSQL.5432",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r bridge.TestResult
			if err := askBridge(cmd.Context(), &machine, http.MethodPost, url.Values{"path": {args[0]}}, nil, &r); err != nil {
				return err
			}
			return format.print(cmd.OutOrStdout(), r, func(p *printer) {
				p.line("%s: connected to %s (%s) in %s", args[0], r.PeerPath, r.Kind, r.RoundTrip)
			})
		},
	}
	machine.add(cmd)
	format.add(cmd)
	return cmd
}

// maxBridgeAnswer bounds what a daemon may answer about its bridge, in bytes.
const maxBridgeAnswer = 4 << 20

// askBridge has a daemon of this machine do something with its bridge, the DPU's if
// there are both. The answer goes into out unless that is nil.
func askBridge(ctx context.Context, flags *machineFlags, method string, query url.Values, body []byte, out any) error {
	m, err := flags.load()
	if err != nil {
		return err
	}
	var dir string
	switch {
	case m.dpu != nil:
		dir = m.dpu.State.Dir
	case m.host != nil:
		dir = m.host.State.Dir
	default:
		return errors.Join(m.dpuErr, m.hostErr)
	}
	socket := filepath.Join(dir, status.SocketName)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://status"+status.BridgePath+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the daemon on %s: %w", socket, errors.Unwrap(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBridgeAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("ask the daemon on %s: %w", socket, err)
	case response.StatusCode/100 != 2:
		return errors.New(strings.TrimSpace(string(text)))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("answer of the daemon on %s: %w", socket, err)
	}
	return nil
}
