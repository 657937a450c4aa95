// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
)

const (
	// maxKey bounds a snapshot's key, in bytes.
	maxKey = 4096
	// maxLabels bounds the number of a snapshot's labels. containerd bounds the
	// size of each.
	maxLabels = 1024
)

func validateKey(what, key string) error {
	switch {
	case key == "":
		return fmt.Errorf("snapshot %s is empty: %w", what, errdefs.ErrInvalidArgument)
	case len(key) > maxKey:
		return fmt.Errorf("snapshot %s of %d bytes, at most %d: %w", what, len(key), maxKey, errdefs.ErrInvalidArgument)
	case !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		return fmt.Errorf("snapshot %s %q is not text: %w", what, key, errdefs.ErrInvalidArgument)
	}
	return nil
}

func validateLabels(set map[string]string) error {
	if len(set) > maxLabels {
		return fmt.Errorf("snapshot has %d labels, at most %d: %w", len(set), maxLabels, errdefs.ErrInvalidArgument)
	}
	for k, v := range set {
		if err := labels.Validate(k, v); err != nil {
			return fmt.Errorf("snapshot label: %w", err)
		}
	}
	return nil
}

// validateNew checks what a snapshot is to be made of.
func validateNew(key, parent string, opts []snapshots.Opt) error {
	if err := validateKey("key", key); err != nil {
		return err
	}
	var info snapshots.Info
	for _, o := range opts {
		if err := o(&info); err != nil {
			return fmt.Errorf("snapshot options: %w", err)
		}
	}
	for _, p := range []string{parent, info.Parent} {
		if p == "" {
			continue
		}
		if err := validateKey("parent", p); err != nil {
			return err
		}
	}
	return validateLabels(info.Labels)
}
