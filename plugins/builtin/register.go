// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

func init() { Register(connect) }

// connect establishes the link with the settings of the DPU's configuration
// file.
func connect(_ context.Context, config Config) (Session, error) {
	return nil, fmt.Errorf("link settings in %s: %w", config.Config, errdefs.ErrNotImplemented)
}
