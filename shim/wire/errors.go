// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Native returns the error of a call in the form it had before the call, so that it
// reads the same however many calls it comes through.
func Native(err error) error {
	if st, ok := status.FromError(err); ok && st.Code() == codes.Unknown {
		// Nothing but its words is known, and they are complete.
		return errors.New(st.Message())
	}
	return errgrpc.ToNative(err)
}
