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
	"strings"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
)

func mountCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "mount",
		Short: "Mount further directories of the HOST on this DPU",
		Long: `Have offload-dpu keep further directories of the HOST mounted. The HOST must export
them: [[export]] in its host.toml. What is to be there after the next boot belongs
into [[mount]] of dpu.toml.`,
	})
	list := mountsCommand()
	list.Use, list.Example = "list", "  offloadctl mount list\n  offloadctl mount list -o json"
	cmd.AddCommand(list, mountAddCommand(), mountRemoveCommand())
	return cmd
}

func mountAddCommand() *cobra.Command {
	var (
		machine machineFlags
		spec    config.Mount
	)
	cmd := &cobra.Command{
		Use:   "add [EXPORT] PATH [MOUNTPOINT]",
		Short: "Mount a directory of the HOST until it is removed or the DPU boots",
		Long: `Mount what the HOST has at PATH and exports by the name EXPORT. Without
EXPORT, PATH may be anything at or below a directory that the HOST exports. Without
MOUNTPOINT it is mounted at the same path here. The mount outlives restarts of
offload-dpu. "mount -t fuse.remotefs host:PATH MOUNTPOINT" does the same.`,
		Example: `  offloadctl mount add /srv/data/pictures
  offloadctl mount add data /srv/data /mnt --options nosuid,nodev
  offloadctl mount add proc /proc /run/offload/proc --read-only`,
		Args: arguments(cobra.RangeArgs(1, 3)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !strings.HasPrefix(args[0], "/") && len(args) > 1 {
				spec.Export, args = args[0], args[1:]
			}
			if len(args) > 2 {
				return &usageError{fmt.Errorf("%q is neither an export's name nor the only path of the HOST", args[0])}
			}
			spec.Path, spec.Mountpoint = args[0], args[len(args)-1]
			if err := spec.Validate(); err != nil {
				return &usageError{err}
			}
			body, err := json.Marshal(spec)
			if err != nil {
				return err
			}
			return tellDPU(cmd.Context(), &machine, http.MethodPut, nil, body)
		},
	}
	cmd.Flags().BoolVar(&spec.ReadOnly, "read-only", false, "mount it read-only")
	cmd.Flags().StringVar(&spec.Options, "options", "", "further `OPTIONS`, as in fstab")
	machine.add(cmd)
	return cmd
}

func mountRemoveCommand() *cobra.Command {
	var machine machineFlags
	cmd := &cobra.Command{
		Use:     "remove MOUNTPOINT",
		Short:   "Unmount what was mounted by \"offloadctl mount add\"",
		Long:    "Unmount what was mounted by \"offloadctl mount add\".",
		Example: "  offloadctl mount remove /srv/data",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return tellDPU(cmd.Context(), &machine, http.MethodDelete, url.Values{"mountpoint": {args[0]}}, nil)
		},
	}
	machine.add(cmd)
	return cmd
}

// maxAnswer bounds what is read of a daemon's answer, in bytes.
const maxAnswer = 64 << 10

// tellDPU has the DPU's daemon change its mounts.
func tellDPU(ctx context.Context, flags *machineFlags, method string, query url.Values, body []byte) error {
	m, err := flags.load()
	if err != nil {
		return err
	}
	if m.dpuErr != nil {
		return m.dpuErr
	}
	if m.dpu == nil {
		return errors.New("this machine is not a DPU")
	}
	socket := filepath.Join(m.dpu.State.Dir, status.SocketName)
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://status"+status.MountsPath+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return &laterError{fmt.Errorf("tell offload-dpu on %s: %w", socket, errors.Unwrap(err))}
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("tell offload-dpu on %s: %w", socket, err)
	}
	refusal := errors.New(strings.TrimSpace(string(text)))
	if response.StatusCode == http.StatusServiceUnavailable {
		return &laterError{refusal}
	}
	return refusal
}

// laterError is the failure of what may work if it is tried again.
type laterError struct{ error }

func (e *laterError) Unwrap() error { return e.error }
