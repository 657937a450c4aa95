// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
)

const (
	// answerTimeout is how long, besides a cut of the link, the HOST half has to answer a call. Hooks and large
	// images take long; a half that is frozen, or of a HOST that wants containerd to wait, takes for ever.
	answerTimeout = 5 * time.Minute
	// lastAnswer is how long after that the session ends, so that the caller hears the reason first.
	lastAnswer = time.Second
)

var errSilent = errors.New("no answer")

// silence ends the session with a HOST half that does not answer: neither containerd nor dockerd bound their calls, and
// one of them waits with a container's lock held.
type silence struct {
	patience time.Duration
	end      func()
}

// unbounded are the calls that take as long as a container or its memory are large.
var unbounded = map[string]bool{"Wait": true, "Checkpoint": true}

// intercept is the way of each call to the HOST half.
func (s silence) intercept(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, info *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
	call := path.Base(info.FullMethod)
	if unbounded[call] {
		return invoke(ctx, req, resp)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errSilent)
	defer cancel()
	err := invoke(ctx, req, resp)
	if err == nil || !errors.Is(context.Cause(ctx), errSilent) {
		return err
	}
	time.AfterFunc(lastAnswer, s.end)
	return fmt.Errorf("%s: the HOST half has not answered for %s: %w", call, s.patience, errdefs.ErrUnavailable)
}
