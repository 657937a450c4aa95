// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/link"
)

const (
	// askTimeout bounds a question to the HOST about its runtime.
	askTimeout = 10 * time.Second
	// maxAnswer bounds the answer, in bytes.
	maxAnswer = 64 << 10
)

// callAgent makes one call of the HOST agent's shims service.
func callAgent(ctx context.Context, cfg *config.DPU, method string, req, resp any) error {
	sess, err := dial(ctx, cfg, link.Target{Kind: link.KindAgent})
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	defer sess.Close()
	stream, err := sess.Open(ctx, wire.ServiceShims, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	client := ttrpc.NewClient(stream)
	defer client.Close()
	err = client.Call(ctx, wire.ShimsService, method, req, resp)
	if errors.Is(err, ttrpc.ErrClosed) || err != nil && ctx.Err() != nil {
		return fmt.Errorf("HOST %s: %w: %w", cfg.Link.Address, err, errdefs.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("HOST %s: %w", cfg.Link.Address, errgrpc.ToNative(err))
	}
	return nil
}

// RuntimeVersion returns what the HOST's runc prints with --version.
func RuntimeVersion(ctx context.Context) (string, error) {
	return askRuntime(ctx, wire.ShimsVersion, "version")
}

// RuntimeFeatures returns what the HOST's runc prints for "features".
func RuntimeFeatures(ctx context.Context) (string, error) {
	return askRuntime(ctx, wire.ShimsFeatures, "features")
}

func askRuntime(ctx context.Context, method, what string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cfg, err := loadConfig()
	if err != nil {
		return "", err
	}
	var resp wrapperspb.StringValue
	if err := callAgent(ctx, cfg, method, &emptypb.Empty{}, &resp); err != nil {
		return "", fmt.Errorf("ask for the %s of the HOST's runtime: %w", what, err)
	}
	text := resp.GetValue()
	strange := func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }
	if len(text) > maxAnswer || strings.ContainsFunc(text, strange) {
		return "", fmt.Errorf("%s of the HOST's runtime is not a text of up to %d bytes: %w", what, maxAnswer, errdefs.ErrDataLoss)
	}
	return text, nil
}
