// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden frames")

var sampleAttr = Attr{
	Ino: 0x0102030405060708, Size: 1 << 40, Blocks: 9,
	Atime: Time{1, 2}, Mtime: Time{-3, 999_999_999}, Ctime: Time{5, 6}, Btime: Time{7, 8},
	Mode: 0o100644, Nlink: 2, UID: 1000, GID: 100, Major: 300, Minor: 70000, Blksize: 4096,
}

// sampleRequest has a value for each field that an operation may have.
func sampleRequest(op Op) *Request {
	r := &Request{
		Op: op, Node: 0x11, Node2: 0x22, Handle: 0x33, Handle2: 0x44, Flags: 0x55, Mode: 0o755, Umask: 0o22,
		UID: 1000, GID: 100, Major: 8, Minor: 1, Offset: 0x66, Offset2: 0x77, Length: 0x88, Size: 0x99, Owner: 0xaa,
		Lock: Lock{Start: 1, End: ^uint64(0), Type: LockWrite, PID: 42},
		Set:  SetAttr{Valid: SetMode | SetSize, Mode: 0o600, UID: 1, GID: 2, Size: 3, Atime: Time{4, 5}, Mtime: Time{6, 7}},
		Name: "name", Name2: "other", Target: "../target", Magic: Magic, Version: Version,
	}
	if op.RequestData() {
		r.Data = []byte("data")
	}
	if op == OpForget {
		r.Data = Forget{Node: 0x11, Count: 2}.Append(nil)
	}
	return r
}

func sampleReply(op Op) *Reply {
	r := &Reply{
		Handle: 0x33, Flags: OpenedStream, Size: 4, Offset: 0x66, Length: 0x88,
		Entry:  Entry{Node: 0x11, Flags: EntryVolatile, Attr: sampleAttr},
		Dir:    Attr{Ino: 2, Mode: 0o40755, Nlink: 3, Blksize: 512},
		Lock:   Lock{Start: 1, End: 2, Type: LockRead, PID: 3},
		StatFS: StatFS{Blocks: 1, Bfree: 2, Bavail: 3, Files: 4, Ffree: 5, Bsize: 6, Frsize: 7, NameLen: 255},
		Magic:  Magic, Version: Version,
	}
	if op.ReplyData() {
		r.Data = []byte("data")
	}
	if op == OpReadDir {
		r.Data = (&DirEntry{Ino: 1, Offset: 2, Type: 8, Name: "plain"}).Append(nil)
		r.Data = (&DirEntry{Ino: 1, Offset: 3, Type: 8, Name: "plus", Plus: true, Entry: r.Entry}).Append(r.Data)
	}
	return r
}

func frame(kind Kind, op Op, body, data []byte) []byte {
	h := Header{Kind: kind, Op: op, ID: 0x01020304, Body: len(body), Data: len(data)}
	return append(append(h.Append(nil), body...), data...)
}

// TestGolden holds every frame against its bytes in testdata. Who changes them
// changes Version.
func TestGolden(t *testing.T) {
	var got strings.Builder
	for op := Op(1); op < opEnd; op++ {
		req, rep := sampleRequest(op), sampleReply(op)
		fmt.Fprintf(&got, "%s request %s\n", op, hex.EncodeToString(frame(KindRequest, op, req.AppendBody(nil), req.Data)))
		if !op.OneWay() {
			fmt.Fprintf(&got, "%s reply %s\n", op, hex.EncodeToString(frame(KindReply, op, rep.AppendBody(op, nil), rep.Data)))
		}
	}
	fmt.Fprintf(&got, "error %s\n", hex.EncodeToString(Header{Kind: KindReply, Op: OpLookup, ID: 5, Errno: FromErrno(unix.ENOENT)}.Append(nil)))
	fmt.Fprintf(&got, "cancel %s\n", hex.EncodeToString(Header{Kind: KindCancel, Op: OpSetLock, ID: 6}.Append(nil)))
	const file = "testdata/golden.txt"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

// TestGoldenDecodes reads the golden frames back.
func TestGoldenDecodes(t *testing.T) {
	golden, err := os.ReadFile("testdata/golden.txt")
	require.NoError(t, err)
	for line := range strings.Lines(string(golden)) {
		fields := strings.Fields(line)
		b, err := hex.DecodeString(fields[len(fields)-1])
		require.NoError(t, err)
		h, err := ParseHeader(b)
		require.NoError(t, err)
		body, data := b[HeaderSize:HeaderSize+h.Body], b[HeaderSize+h.Body:]
		switch {
		case h.Errno != 0:
			require.Equal(t, unix.ENOENT, h.Errno.Local())
		case h.Kind == KindRequest:
			var r Request
			require.NoError(t, r.ParseBody(h.Op, body), line)
			require.True(t, bytes.Equal(body, r.AppendBody(nil)), line)
			require.Equal(t, sampleRequest(h.Op).Data, append([]byte(nil), data...))
		case h.Kind == KindReply:
			var r Reply
			require.NoError(t, r.ParseBody(h.Op, body), line)
			require.True(t, bytes.Equal(body, r.AppendBody(h.Op, nil)), line)
		}
	}
}

func TestEveryOperationHasALayout(t *testing.T) {
	names := map[string]bool{}
	for op := Op(1); op < opEnd; op++ {
		require.NotEmpty(t, layouts[op].name, op)
		require.False(t, names[op.String()], op)
		names[op.String()] = true
		require.False(t, op.OneWay() && len(layouts[op].reply) > 0, op)
		require.LessOrEqual(t, len(sampleRequest(op).AppendBody(nil)), MaxBody)
	}
	require.False(t, Op(0).Known())
	require.False(t, opEnd.Known())
	require.Equal(t, "operation 200", Op(200).String())
}

func TestBadHeaders(t *testing.T) {
	for name, h := range map[string]Header{
		"much data": {Kind: KindReply, Data: MaxData + 1}, "much body": {Kind: KindReply, Body: MaxBody + 1},
		"no kind": {}, "unknown kind": {Kind: 4}, "cancel with body": {Kind: KindCancel, Body: 1},
		"request with error": {Kind: KindRequest, Errno: 1}, "error with data": {Kind: KindReply, Errno: 1, Data: 1},
	} {
		_, err := ParseHeader(h.Append(nil))
		assert.ErrorIs(t, err, ErrProtocol, name)
	}
	_, err := ParseHeader(make([]byte, HeaderSize-1))
	assert.ErrorIs(t, err, ErrProtocol)
}

func TestBadBodies(t *testing.T) {
	var r Request
	require.ErrorIs(t, r.ParseBody(opEnd, nil), ErrProtocol)
	body := sampleRequest(OpLookup).AppendBody(nil)
	for n := range body {
		require.ErrorIs(t, r.ParseBody(OpLookup, body[:n]), ErrProtocol)
	}
	require.ErrorIs(t, r.ParseBody(OpLookup, append(body, 0)), ErrProtocol)
	long := sampleRequest(OpLookup)
	long.Name = strings.Repeat("n", MaxName+1)
	require.ErrorIs(t, r.ParseBody(OpLookup, long.AppendBody(nil)), ErrProtocol)
	lock := sampleRequest(OpSetLock)
	lock.Lock.Type = 3
	require.ErrorIs(t, r.ParseBody(OpSetLock, lock.AppendBody(nil)), ErrProtocol)
	var rep Reply
	bad := sampleReply(OpGetAttr)
	bad.Entry.Attr.Mtime.Nsec = 1e9
	require.ErrorIs(t, rep.ParseBody(OpGetAttr, bad.AppendBody(OpGetAttr, nil)), ErrProtocol)
}

func TestDirEntryFitsItsCost(t *testing.T) {
	for n := 1; n <= MaxName; n++ {
		e := DirEntry{Name: strings.Repeat("n", n)}
		require.LessOrEqual(t, len(e.Append(nil)), DirCost(n, false))
		e.Plus = true
		require.LessOrEqual(t, len(e.Append(nil)), DirCost(n, true))
	}
}

func TestErrno(t *testing.T) {
	for n, e := range errnos {
		if e != 0 {
			require.Equal(t, e, Errno(n).Local())
			require.Equal(t, Errno(n), FromErrno(e))
		}
	}
	require.Equal(t, unix.EIO, Errno(60000).Local())
	require.Equal(t, Errno(5), FromErrno(unix.Errno(60000)))
	for err, want := range map[error]unix.Errno{
		fmt.Errorf("x: %w", unix.ENOSPC):          unix.ENOSPC,
		fmt.Errorf("x: %w", errdefs.ErrNotFound):  unix.ENOENT,
		&fs.PathError{Op: "x", Err: unix.EROFS}:   unix.EROFS,
		errors.Join(errors.New("x"), os.ErrExist): unix.EEXIST,
		errors.New("x"): unix.EIO,
		fmt.Errorf("x: %w", errdefs.ErrUnavailable): unix.EAGAIN,
	} {
		require.Equal(t, want, FromError(err).Local(), err)
	}
	require.Zero(t, FromError(nil))
}

func TestOpenFlags(t *testing.T) {
	for linux, want := range map[uint32]uint32{
		unix.O_RDONLY: OpenRead, unix.O_WRONLY | unix.O_APPEND: OpenWrite | OpenAppend,
		unix.O_RDWR | unix.O_TRUNC | unix.O_EXCL:        OpenBoth | OpenTrunc | OpenExcl,
		unix.O_DIRECT | unix.O_NOATIME:                  OpenDirect | OpenNoAtime,
		unix.O_DSYNC:                                    OpenDataSync,
		unix.O_SYNC:                                     OpenSync | OpenDataSync,
		unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC: 0,
	} {
		require.Equal(t, want, FromOpenFlags(linux), "%o", linux)
		require.Equal(t, int(linux)&^(unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC), ToOpenFlags(want), "%o", linux)
	}
	require.Zero(t, ToOpenFlags(OpenKill))
	for _, f := range fallocFlags {
		w, ok := FromFallocMode(f.linux)
		require.True(t, ok)
		l, ok := ToFallocMode(w)
		require.True(t, ok)
		require.Equal(t, f.linux, l)
	}
	_, ok := FromFallocMode(0x8000)
	require.False(t, ok)
	_, ok = ToFallocMode(0x8000)
	require.False(t, ok)
}

// FuzzRequest checks that what decodes encodes to the same bytes.
func FuzzRequest(f *testing.F) {
	for op := Op(1); op < opEnd; op++ {
		f.Add(uint8(op), sampleRequest(op).AppendBody(nil))
	}
	f.Fuzz(func(t *testing.T, op uint8, body []byte) {
		var r Request
		if r.ParseBody(Op(op), body) == nil && !bytes.Equal(body, r.AppendBody(nil)) {
			t.Fatalf("%s: %x became %x", Op(op), body, r.AppendBody(nil))
		}
	})
}

// FuzzReply checks the same of replies.
func FuzzReply(f *testing.F) {
	for op := Op(1); op < opEnd; op++ {
		f.Add(uint8(op), sampleReply(op).AppendBody(op, nil))
	}
	f.Fuzz(func(t *testing.T, op uint8, body []byte) {
		var r Reply
		if r.ParseBody(Op(op), body) == nil && !bytes.Equal(body, r.AppendBody(Op(op), nil)) {
			t.Fatalf("%s: %x became %x", Op(op), body, r.AppendBody(Op(op), nil))
		}
	})
}

// FuzzData checks that lists end, whatever they are.
func FuzzData(f *testing.F) {
	f.Add(sampleReply(OpReadDir).Data)
	f.Add(sampleRequest(OpForget).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			_, next, err := NextDirEntry(rest)
			if err != nil {
				break
			}
			if len(next) >= len(rest) {
				t.Fatal("an entry of no size")
			}
			rest = next
		}
		for rest := data; len(rest) > 0; {
			_, next, err := NextForget(rest)
			if err != nil {
				break
			}
			rest = next
		}
		if h, err := ParseHeader(data); err == nil && !bytes.Equal(h.Append(nil), data[:HeaderSize]) {
			t.Fatal("header changed")
		}
	})
}
