// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStdioHeaderRoundTrip(t *testing.T) {
	for _, h := range []StdioHeader{
		{ID: "web", Stream: Stdin}, {ID: "web", Stream: Stdout}, {ID: "web", ExecID: "sh-1", Stream: Stderr},
	} {
		got, err := ParseStdioHeader(h.Encode())
		require.NoError(t, err)
		require.Equal(t, h, got)
	}
}

func TestStdioHeaderGolden(t *testing.T) {
	require.Equal(t, `{"id":"web","exec_id":"sh","stream":"stdout"}`,
		string(StdioHeader{ID: "web", ExecID: "sh", Stream: Stdout}.Encode()))
}

func TestParseStdioHeaderRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:                               "EOF",
		`{}`:                             "id",
		`{"id":"../x","stream":"stdin"}`: "id",
		`{"id":"a","stream":"stdfoo"}`:   `unknown stream "stdfoo"`,
		`{"id":"a","stream":"stdin"}x`:   "bytes after",
		`{"id":"a","fd":3}`:              "unknown field",
		`{"id":"a","exec_id":"/","stream":"stdin"}`: "exec id",
	} {
		_, err := ParseStdioHeader([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
}

func TestRefsMeanOneThing(t *testing.T) {
	export, socket, netns, task := ExportRef("3"), SocketRef("4"), NetNSRef("4026531840"), TaskNSRef("pod", "web")
	name, ok := export.Export()
	require.True(t, ok)
	require.Equal(t, "3", name)
	name, ok = socket.Socket()
	require.True(t, ok)
	require.Equal(t, "4", name)
	name, ok = netns.NetNS()
	require.True(t, ok)
	require.Equal(t, "4026531840", name)
	pod, id, ok := task.TaskNS()
	require.True(t, ok)
	require.Equal(t, "pod/web", pod+"/"+id)

	size, ok := ShmRef(64 << 20).Shm()
	require.True(t, ok)
	require.Equal(t, uint64(64<<20), size)
	pod, id, ok = TaskShmRef("pod", "web").TaskShm()
	require.True(t, ok)
	require.Equal(t, "pod/web", pod+"/"+id)
	_, _, ok = task.TaskShm()
	require.False(t, ok)

	for _, r := range []Ref{export, socket, netns, task, ShmRef(0), TaskShmRef("pod", "web")} {
		require.False(t, strings.HasPrefix(string(r), "/"))
	}
	_, ok = socket.Export()
	require.False(t, ok)
}

func TestRefsRefuse(t *testing.T) {
	for _, r := range []Ref{"", "/etc", exportPrefix, exportPrefix + "..", exportPrefix + "a/b", Ref(exportPrefix + strings.Repeat("x", 300)), exportPrefix + "a\x00"} {
		_, ok := r.Export()
		require.False(t, ok, "%q", r)
	}
	for _, r := range []Ref{taskNSPrefix + "pod", taskNSPrefix + "pod/../x", taskNSPrefix + "/x", taskNSPrefix + "pod/"} {
		_, _, ok := r.TaskNS()
		require.False(t, ok, "%q", r)
	}
	for _, r := range []Ref{shmPrefix, shmPrefix + "-1", shmPrefix + "1k", shmPrefix + "18446744073709551615", "64"} {
		_, ok := r.Shm()
		require.False(t, ok, "%q", r)
	}
}

func FuzzParseStdioHeader(f *testing.F) {
	f.Add(StdioHeader{ID: "web", Stream: Stdin}.Encode())
	f.Add([]byte(`{"id":"a","exec_id":"b","stream":"stderr"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseStdioHeader(b)
		if err != nil {
			return
		}
		again, err := ParseStdioHeader(h.Encode())
		if err != nil || again != h {
			t.Fatalf("%+v became %+v (%v)", h, again, err)
		}
	})
}
