// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// maxReport bounds the size of a report that is accepted, in bytes.
const maxReport = 64 << 20

// Dial connects to a daemon that gives out reports.
type Dial func(ctx context.Context) (net.Conn, error)

// Get asks the daemon that listens on socket for its report.
func Get(ctx context.Context, socket string) (*Report, error) {
	return ask(ctx, socket, Path)
}

// GetPeer asks the daemon that listens on socket for the report of its
// counterpart on the other machine.
func GetPeer(ctx context.Context, socket string) (*Report, error) {
	return ask(ctx, socket, PeerPath)
}

func ask(ctx context.Context, socket, path string) (*Report, error) {
	report, err := get(ctx, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}, path)
	if err != nil {
		return nil, fmt.Errorf("ask for status on %s: %w", socket, err)
	}
	return report, nil
}

// Fetch asks a daemon that is reached by dial for its report. It is not
// believed: the report's texts are cut to one line each, without control
// characters.
func Fetch(ctx context.Context, dial Dial) (*Report, error) {
	report, err := get(ctx, dial, Path)
	if err != nil {
		return nil, fmt.Errorf("ask for status: %w", err)
	}
	report.clean()
	return report, nil
}

func get(ctx context.Context, dial Dial, path string) (*Report, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://status"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, explain(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReport+1))
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	if len(body) > maxReport {
		return nil, fmt.Errorf("the report has more than %d bytes", maxReport)
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(line(string(body)))
	}
	var report Report
	if err := json.Unmarshal(body, &report); err != nil {
		return nil, fmt.Errorf("decode report: %w", err)
	}
	return &report, nil
}

// explain says what a failed connection means.
func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("the daemon is not running: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("only root may ask: %w", err)
	}
	return err
}
