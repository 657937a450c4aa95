// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"
)

// mute is a HOST half that answers Kill at once, Wait when it is told to, and nothing else.
type mute struct {
	taskapi.TTRPCTaskService
	over chan struct{}
}

func (m *mute) Kill(context.Context, *taskapi.KillRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (m *mute) Wait(context.Context, *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	<-m.over
	return &taskapi.WaitResponse{ExitStatus: 7}, nil
}

func (m *mute) Start(context.Context, *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	<-m.over // whatever the deadline
	return nil, errors.New("too late")
}

// TestSilence calls a half that does not answer: the call fails and the session ends, and a call that waits for a
// container goes on.
func TestSilence(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "half"))
	require.NoError(t, err)
	half := &mute{over: make(chan struct{})}
	server, err := ttrpc.NewServer()
	require.NoError(t, err)
	taskapi.RegisterTTRPCTaskService(server, half)
	go func() { _ = server.Serve(context.Background(), l) }()
	defer server.Close()
	conn, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	ended := make(chan struct{})
	s := silence{patience: 50 * time.Millisecond, end: func() { close(ended) }}
	client := ttrpc.NewClient(conn, ttrpc.WithUnaryClientInterceptor(s.intercept))
	defer client.Close()
	tasks := taskapi.NewTTRPCTaskClient(client)

	waited := make(chan *taskapi.WaitResponse, 1)
	go func() {
		r, err := tasks.Wait(context.Background(), &taskapi.WaitRequest{ID: "a"})
		if err != nil {
			t.Error(err)
		}
		waited <- r
	}()
	// The caller's own end is no silence.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tasks.Start(ctx, &taskapi.StartRequest{ID: "a"})
	require.ErrorIs(t, err, context.Canceled)

	_, err = tasks.Start(t.Context(), &taskapi.StartRequest{ID: "a"})
	require.ErrorContains(t, err, "Start: the HOST half has not answered for 50ms")
	require.True(t, errdefs.IsUnavailable(err), err)
	<-ended
	require.Empty(t, waited)
	close(half.over)
	require.EqualValues(t, 7, (<-waited).GetExitStatus())
}
