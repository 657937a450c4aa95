// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package demo shows the system at work to someone who sees it for the first time.
package demo

import (
	"context"
	"errors"
	"io"

	"github.com/container-offload/offload/integration/lab"
)

// Options say how to show it.
type Options struct {
	// Out is where it is told.
	Out io.Writer
	// Colour makes headings stand out.
	Colour bool
	// Build is the build directory.
	Build string
	// Shell, if set, is called before the lab is taken down.
	Shell func(context.Context, *lab.Lab) error
}

// Run shows everything.
func Run(ctx context.Context, o Options) error { return errors.ErrUnsupported }
