// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
)

// TestReservations holds that a task which is being created is there for whoever
// wants its id, and for nobody else.
func TestReservations(t *testing.T) {
	var ts tasks
	require.NoError(t, ts.reserve("web"))
	require.ErrorIs(t, ts.reserve("web"), errdefs.ErrAlreadyExists)
	_, err := ts.get("web")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.Equal(t, 1, ts.count())
	ts.remove("web")
	require.Zero(t, ts.count())

	require.NoError(t, ts.reserve("web"))
	web := newTask("web", "", nil)
	require.NoError(t, ts.add(web))
	require.ErrorIs(t, ts.reserve("web"), errdefs.ErrAlreadyExists)
	got, err := ts.get("web")
	require.NoError(t, err)
	require.Same(t, web, got)
	require.Equal(t, 1, ts.count())
}

// TestTheEndWhileATaskIsBeingCreated holds that the end of the session, which the
// HOST can bring about at any time, meets no task that is none, and that the task is
// its creator's to release.
func TestTheEndWhileATaskIsBeingCreated(t *testing.T) {
	var ts tasks
	require.NoError(t, ts.reserve("there"))
	require.NoError(t, ts.add(newTask("there", "", nil)))
	require.NoError(t, ts.reserve("coming"))
	all := ts.close()
	require.Len(t, all, 1)
	require.Equal(t, "there", all[0].id)
	require.ErrorIs(t, ts.add(newTask("coming", "", nil)), errdefs.ErrUnavailable)
	require.ErrorIs(t, ts.reserve("late"), errdefs.ErrUnavailable)
	ts.remove("coming")
	require.Zero(t, ts.count())
	require.Empty(t, ts.close())
}
