// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/status"
	"github.com/container-offload/offload/udsbridge/bridge"
	"github.com/container-offload/offload/udsbridge/bridge/policy"
)

func ask(t *testing.T, g *Bridging, method, query, body string) (int, string) {
	t.Helper()
	mux := http.NewServeMux()
	g.Handle(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(method, status.BridgePath+query, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func paths(t *testing.T, g *Bridging) []string {
	t.Helper()
	code, body := ask(t, g, http.MethodGet, "", "")
	require.Equal(t, http.StatusOK, code)
	var s bridge.Status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	var out []string
	for _, r := range s.Rules {
		out = append(out, r.Direction+" "+r.Path+" "+r.As)
	}
	return out
}

// Rules that are added live outlive the daemon, and only they can be removed.
func TestBridgingRules(t *testing.T) {
	dir := t.TempDir()
	start := func() *Bridging {
		g, err := NewBridging(BridgingOptions{
			Rules:     []config.Bridge{{Direction: config.BridgeServe, Path: filepath.Join(dir, "conf")}},
			ByDefault: policy.Nobody, State: dir, Log: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		return g
	}
	g := start()
	code, body := ask(t, g, http.MethodPut, "", `{"direction":"connect","path":"`+dir+`/live"}`)
	require.Equal(t, http.StatusNoContent, code, body)
	code, body = ask(t, g, http.MethodPut, "", `{"direction":"serve","path":"`+dir+`/live/below"}`)
	assert.Equal(t, http.StatusConflict, code)
	assert.Contains(t, body, "they overlap")
	code, _ = ask(t, g, http.MethodPut, "", `{"direction":"serve","nonsense":1}`)
	assert.Equal(t, http.StatusBadRequest, code)
	code, body = ask(t, g, http.MethodPost, "?path="+dir+"/live/s", "")
	assert.Equal(t, http.StatusConflict, code)
	assert.Contains(t, body, "the peer is not there")
	want := []string{"connect " + dir + "/live ", "serve " + dir + "/conf 65534:65534"}
	assert.Equal(t, want, paths(t, g))
	require.NoError(t, g.Close())

	g = start()
	assert.Equal(t, want, paths(t, g))
	code, body = ask(t, g, http.MethodDelete, "?path="+dir+"/conf", "")
	assert.Equal(t, http.StatusNotFound, code)
	assert.Contains(t, body, errConfigured.Error())
	code, body = ask(t, g, http.MethodDelete, "?path="+dir+"/live", "")
	assert.Equal(t, http.StatusNoContent, code, body)
	assert.Equal(t, want[1:], paths(t, g))
	require.NoError(t, g.Close())

	g = start()
	assert.Equal(t, want[1:], paths(t, g))
	require.NoError(t, g.Close())
}
