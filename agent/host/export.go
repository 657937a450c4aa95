// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/remotefs/server"
)

// export lets the DPU mount what the configuration says.
func (a *Agent) export(e config.Export) error {
	x := server.Export{Name: e.Name, Path: e.Path, ReadOnly: e.ReadOnly, CrossMounts: !e.OneFileSystem}
	var err error
	if x.Allow, err = server.ParseOperations(e.Allow); err != nil {
		return fmt.Errorf("export %s: %w", e.Path, err)
	}
	if e.Squash != "" {
		uid, gid, err := config.ParseUser(e.Squash)
		if err != nil {
			return fmt.Errorf("export %s: %w", e.Path, err)
		}
		x.Squash = &server.User{UID: uid, GID: gid}
	}
	if x.UIDs, err = idRanges(e.UIDMap); err != nil {
		return fmt.Errorf("export %s: %w", e.Path, err)
	}
	if x.GIDs, err = idRanges(e.GIDMap); err != nil {
		return fmt.Errorf("export %s: %w", e.Path, err)
	}
	return a.files.Add(x)
}

func idRanges(text string) ([]server.IDRange, error) {
	ranges, err := config.ParseIDMap(text)
	if err != nil {
		return nil, err
	}
	var out []server.IDRange
	for _, r := range ranges {
		out = append(out, server.IDRange{Client: r.DPU, Server: r.Host, Count: r.Count})
	}
	return out, nil
}
