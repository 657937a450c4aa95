// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/container-offload/offload/agent/passing"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/bridge"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
	"github.com/container-offload/offload/udsbridge/session"
)

// Bridging is a daemon's side of the socket bridge: the rules of the configuration,
// and those that were added since the machine's boot, which are kept in a file.
type Bridging struct {
	b         *bridge.Bridge
	byDefault policy.Identity
	file      string

	mu    sync.Mutex
	added []config.Bridge
}

// BridgingOptions say what a daemon bridges.
type BridgingOptions struct {
	Rules []config.Bridge
	// ByDefault is who programs of the other machine are if a rule does not say.
	ByDefault policy.Identity
	// Dirs are directories that the other machine has mounted.
	Dirs []string
	// State is the daemon's directory for what lasts until the next boot.
	State string
	Log   *slog.Logger
}

// NewBridging begins to mirror and serve. Close it.
func NewBridging(o BridgingOptions) (*Bridging, error) {
	g := &Bridging{byDefault: o.ByDefault, file: filepath.Join(o.State, "bridge.json")}
	text, err := os.ReadFile(g.file)
	if err == nil {
		err = json.Unmarshal(text, &g.added)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the bridge's rules that were added: %w", err)
	}
	connect, serve, err := config.BridgeRules(o.Rules, o.ByDefault)
	if err != nil {
		return nil, err
	}
	g.b, err = bridge.New(bridge.Options{
		Connect: connect, Serve: serve, Dirs: o.Dirs, Runtime: runtimeOf(o.State),
		Files: passing.Files{Log: o.Log}, Logger: o.Log,
	})
	if err != nil {
		return nil, err
	}
	for _, r := range g.added {
		// The configuration may have changed since; it goes before what was added.
		if err := g.apply(r); err != nil {
			o.Log.Warn("rule of the bridge that was added does not hold any more", "path", r.Path, "error", err)
		}
	}
	return g, nil
}

// runtimeOf returns the bridge's own directory, one for each state directory. Other
// than that, it is open to all users, whose programs a hook leads there.
func runtimeOf(state string) string {
	return filepath.Join("/run/udsbridge", strings.ReplaceAll(strings.Trim(state, "/"), "/", "-"))
}

// Serve bridges over a session until that or ctx ends.
func (g *Bridging) Serve(ctx context.Context, s *session.Session) error { return g.b.Serve(ctx, s) }

// Close removes the mirrors.
func (g *Bridging) Close() error { return g.b.Close() }

func (g *Bridging) apply(r config.Bridge) error {
	connect, serve, err := config.BridgeRules([]config.Bridge{r}, g.byDefault)
	if err != nil {
		return err
	}
	if len(connect) > 0 {
		return g.b.AddConnect(connect[0])
	}
	return g.b.AddServe(serve[0])
}

// add adds a rule until the next boot.
func (g *Bridging) add(r config.Bridge) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.apply(r); err != nil {
		return err
	}
	g.added = append(g.added, r)
	if err := g.saveLocked(); err != nil {
		g.added = g.added[:len(g.added)-1]
		return errors.Join(err, g.b.Remove(r.Path))
	}
	return nil
}

// errConfigured says that a rule is not one that was added.
var errConfigured = errors.New("the configuration has no such rule that was added; what is in its file is changed there")

// remove takes a rule away that was added.
func (g *Bridging) remove(path string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.added, func(r config.Bridge) bool { return r.Path == path })
	if i < 0 {
		return fmt.Errorf("%s: %w", path, errConfigured)
	}
	before := slices.Clone(g.added)
	g.added = slices.Delete(g.added, i, i+1)
	if err := g.saveLocked(); err != nil {
		g.added = before
		return err
	}
	return g.b.Remove(path)
}

func (g *Bridging) saveLocked() error {
	text, err := json.Marshal(g.added)
	if err == nil {
		err = os.WriteFile(g.file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(g.file+".new", g.file)
	}
	if err != nil {
		return fmt.Errorf("keep the bridge's rules that were added: %w", err)
	}
	return nil
}

// maxRule bounds a rule in a request, in bytes.
const maxRule = 64 << 10

// Handle answers on a status socket what status.BridgePath says.
func (g *Bridging) Handle(mux *http.ServeMux) {
	mux.HandleFunc("GET "+status.BridgePath, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, g.b.Status())
	})
	mux.HandleFunc("PUT "+status.BridgePath, func(w http.ResponseWriter, r *http.Request) {
		var rule config.Bridge
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRule))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&rule); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		conclude(w, g.add(rule), http.StatusConflict)
	})
	mux.HandleFunc("DELETE "+status.BridgePath, func(w http.ResponseWriter, r *http.Request) {
		conclude(w, g.remove(r.URL.Query().Get("path")), http.StatusNotFound)
	})
	mux.HandleFunc("POST "+status.BridgePath, func(w http.ResponseWriter, r *http.Request) {
		result, err := g.b.Test(r.Context(), r.URL.Query().Get("path"))
		if err != nil {
			conclude(w, err, http.StatusConflict)
			return
		}
		writeJSON(w, result)
	})
}

func conclude(w http.ResponseWriter, err error, failure int) {
	if err != nil {
		http.Error(w, err.Error(), failure)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// The only error there can be is that the client has gone.
	_ = json.NewEncoder(w).Encode(v)
}
