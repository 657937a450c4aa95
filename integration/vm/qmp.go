// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// control is a connection to a machine's QEMU by its machine protocol (QMP), over which one command is given.
// https://www.qemu.org/docs/master/interop/qmp-spec.html
func control(ctx context.Context, socket, command string, arguments map[string]any) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("ask QEMU to %s: %w", command, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	var greeting map[string]any
	if err := in.Decode(&greeting); err != nil {
		return fmt.Errorf("ask QEMU to %s: %w", command, err)
	}
	for _, request := range []map[string]any{
		{"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments},
	} {
		if request["arguments"] == nil || len(arguments) == 0 {
			delete(request, "arguments")
		}
		if err := exchange(in, out, request); err != nil {
			return fmt.Errorf("ask QEMU to %s: %w", command, err)
		}
	}
	return nil
}

// exchange sends a request and awaits its answer; events may come before that.
func exchange(in *json.Decoder, out *json.Encoder, request map[string]any) error {
	if err := out.Encode(request); err != nil {
		return err
	}
	for {
		var answer struct {
			Event  string
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := in.Decode(&answer); err != nil {
			return err
		}
		switch {
		case answer.Error != nil:
			return errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}
