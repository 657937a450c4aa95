// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"github.com/container-offload/offload/shim/launcher"
	"github.com/container-offload/offload/udsbridge/fdpass"
)

// fileConn returns the unix socket in f, which it closes.
func fileConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %s is a %T, want a unix socket", f.Name(), c)
	}
	return u, nil
}

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// reply tells the agent what became of its assignment.
func reply(c *net.UnixConn, err error) error {
	var r launcher.Reply
	if err != nil {
		r.Error = err.Error()
		r.Error = r.Error[:min(len(r.Error), launcher.MaxMessage/2)]
	}
	b, encErr := launcher.Encode(r)
	if encErr != nil {
		return encErr
	}
	return fdpass.Send(c, b)
}
