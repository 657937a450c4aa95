// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	apitypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// publisher sends the task service's events to the DPU half, in order. An event
// waits for as long as there is no session to send it on.
type publisher struct {
	half    *half
	once    sync.Once
	drained chan struct{}
}

// Publish returns when the DPU half has the event, or has refused it.
func (p *publisher) Publish(ctx context.Context, topic string, event events.Event) error {
	a, err := typeurl.MarshalAnyToProto(event)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", topic, err)
	}
	req := &eventsapi.ForwardRequest{Envelope: &apitypes.Envelope{
		Timestamp: protobuf.ToTimestamp(time.Now()), Namespace: p.half.target.Namespace, Topic: topic, Event: a,
	}}
	for {
		sess, changed := p.half.session()
		err := p.half.forward(ctx, sess, req)
		if err == nil || !errors.Is(err, ttrpc.ErrClosed) && !errors.Is(err, session.ErrLinkLost) {
			return err
		}
		select {
		case <-changed:
		case <-p.half.shutdown.Done():
			return err
		}
	}
}

// Close is called by the task service when no more events will come.
func (p *publisher) Close() error {
	p.once.Do(func() { close(p.drained) })
	return nil
}

// drainTimeout bounds how long a half that is to end waits for its last events
// to be delivered.
const drainTimeout = 2 * time.Second

func (p *publisher) awaitDrained() {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-p.drained:
	case <-timer.C:
	}
}

func (h *half) forward(ctx context.Context, sess *session.Session, req *eventsapi.ForwardRequest) error {
	client, err := h.events.client(ctx, sess)
	if err != nil {
		return err
	}
	_, err = client.Forward(ctx, req)
	return err
}

// eventClient is the events client of one session at a time.
type eventClient struct {
	mu   sync.Mutex
	sess *session.Session
	api  eventsapi.TTRPCEventsService
}

func (c *eventClient) client(ctx context.Context, sess *session.Session) (eventsapi.TTRPCEventsService, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sess == sess && c.api != nil {
		return c.api, nil
	}
	st, err := sess.Open(ctx, wire.ServiceEvents, nil)
	if err != nil {
		return nil, err
	}
	c.sess, c.api = sess, eventsapi.NewTTRPCEventsClient(ttrpc.NewClient(st))
	return c.api, nil
}
