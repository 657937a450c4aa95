// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	aConnect = Connect{Kind: SeqPacket, Path: "/run/app/s", Who: Credentials{PID: 300, UID: 1000, GID: 100, Groups: []uint32{100, 27}}, Source: "@client"}
	aReply   = Reply{Errno: syscall.ECONNREFUSED, Reason: "nobody listens"}
	aHello   = Hello{Version: Version, Name: "machine /run/udsbridge", Instance: 1<<63 + 5, Dirs: []string{"/srv", "/"}}
	aWatch   = Watch{Prefixes: []string{"/run/app", "@name"}}
	aSockets = Sockets{Prefix: "/run/app", Problem: "one is missing", List: []Socket{
		{Name: "", Kind: Stream, Live: true, Mode: 0o660, UID: 1, GID: 2}, {Name: "d/s", Mode: 0o777},
	}}
	aFiles = Files{List: []File{
		{Kind: FilePipe, Token: 7, Read: true, NonBlock: true},
		{Kind: FileSocket, Token: 8, Read: true, Write: true, Socket: Datagram},
		{Kind: FileTerminal, Token: 9, Read: true, Write: true, Terminal: aTerminal},
		{Kind: FileEvent, Token: 10, Read: true, Write: true, Semaphore: true, Offset: 1<<64 - 2},
		{Kind: FilePath, Path: "/srv/f", Write: true, Append: true, Offset: 12},
		{Kind: FilePath, Path: "/", PathOnly: true, Directory: true},
		{Kind: FileContent, Token: 11, Read: true, Size: 100, Offset: 50, Mode: 0o600, Path: "memfd"},
		{Kind: FileServed, Token: 12, Read: true, Path: "f"},
		{Kind: FileDevice, Path: "/dev/null", Write: true},
	}, Data: []byte("data")}
	aTerminal = Terminal{Rows: 24, Columns: 80, XPixels: 1, YPixels: 2, Input: 3, Output: 4, Control: 5, Local: 6, Line: 7, Characters: [19]byte{3, 28}}
)

// golden compares what is sent with what was sent once.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(hex.Dump(got)), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), hex.Dump(got), "the protocol has changed: that needs another version")
}

func TestGolden(t *testing.T) {
	for name, c := range map[string]struct {
		encoded []byte
		value   any
		parse   func([]byte) (any, error)
	}{
		"connect":  {aConnect.Encode(), aConnect, func(b []byte) (any, error) { return ParseConnect(b) }},
		"reply":    {aReply.Encode(), aReply, func(b []byte) (any, error) { return ParseReply(b) }},
		"hello":    {aHello.Encode(), aHello, func(b []byte) (any, error) { return ParseHello(b) }},
		"watch":    {aWatch.Encode(), aWatch, func(b []byte) (any, error) { return ParseWatch(b) }},
		"sockets":  {aSockets.Encode(), aSockets, func(b []byte) (any, error) { return ParseSockets(b) }},
		"files":    {aFiles.Encode(), aFiles, func(b []byte) (any, error) { return ParseFiles(b) }},
		"terminal": {aTerminal.Encode(), aTerminal, func(b []byte) (any, error) { return ParseTerminal(b) }},
		"token":    {EncodeToken(1 << 40), uint64(1 << 40), func(b []byte) (any, error) { return ParseToken(b) }},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, c.encoded)
			got, err := c.parse(c.encoded)
			require.NoError(t, err)
			assert.Equal(t, c.value, got)
			// What is cut off is refused, at whatever byte.
			for i := range c.encoded {
				if name == "files" && i >= len(c.encoded)-len(aFiles.Data) {
					break
				}
				_, err := c.parse(c.encoded[:i])
				assert.ErrorIs(t, err, ErrMalformed, "cut after %d bytes", i)
			}
		})
	}
}

// The largest list of sockets fits into a frame.
func TestSocketsFit(t *testing.T) {
	s := Sockets{Prefix: strings.Repeat("/x", maxPath/2), Problem: strings.Repeat("x", 2*maxReason)}
	for range MaxSockets {
		s.List = append(s.List, Socket{Name: strings.Repeat("n", maxName), Kind: Datagram, Live: true, Mode: 0o777, UID: 1<<32 - 1, GID: 1<<32 - 1})
	}
	assert.LessOrEqual(t, len(s.Encode()), MaxPayload)
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"relative path", second(ParseConnect(Connect{Kind: Stream, Path: "run/s"}.Encode())), "neither a clean absolute path"},
		{"path upwards", second(ParseConnect(Connect{Kind: Stream, Path: "/run/../s"}.Encode())), "neither a clean absolute path"},
		{"double slash", second(ParseConnect(Connect{Kind: Stream, Path: "/run//s"}.Encode())), "neither a clean absolute path"},
		{"zero byte", second(ParseConnect(Connect{Kind: Stream, Path: "/run/\x00"}.Encode())), "neither a clean absolute path"},
		{"root", second(ParseConnect(Connect{Kind: Stream, Path: "/"}.Encode())), "neither a clean absolute path"},
		{"no kind", second(ParseConnect(Connect{Path: "/s"}.Encode())), "kind of socket is 0"},
		{"name upwards", second(ParseSockets(Sockets{Prefix: "/p", List: []Socket{{Name: "../s"}}}.Encode())), "not a clean path"},
		{"dead with a kind", second(ParseSockets(Sockets{Prefix: "/p", List: []Socket{{Name: "s", Kind: Stream}}}.Encode())), "live false"},
		{"other version", second(ParseHello(Hello{Version: 2}.Encode())), "version 2"},
		{"no descriptor", second(ParseFiles(Files{Data: []byte("x")}.Encode())), "no descriptor"},
		{"device upwards", second(ParseFiles(Files{List: []File{{Kind: FileDevice, Path: "/dev/../etc"}}}.Encode())), "not clean and absolute"},
		{"pipe both ways", second(ParseFiles(Files{List: []File{{Kind: FilePipe, Read: true, Write: true}}}.Encode())), "either reading or writing"},
		{"bytes too many", second(ParseReply(append(Reply{}.Encode(), 0))), "1 bytes too many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, c.err, ErrMalformed)
			assert.ErrorContains(t, c.err, c.want)
		})
	}
}

func second[T any](_ T, err error) error { return err }

// However a stream is cut into pieces, the same frames come out of it.
func TestDecoderPieces(t *testing.T) {
	stream := AppendFrame(nil, FrameReply, aReply.Encode())
	stream = AppendFrame(stream, FrameData, []byte("some data"))
	stream = AppendFrame(stream, FrameData, nil)
	stream = AppendFrame(stream, FrameFiles, aFiles.Encode())
	stream = AppendFrame(stream, FrameClose, nil)
	for _, whole := range []bool{true, false} {
		want := decode(t, whole, stream, len(stream))
		for size := 1; size < len(stream); size++ {
			assert.Equal(t, want, decode(t, whole, stream, size), "pieces of %d bytes", size)
		}
	}
}

// decode returns the frames of a stream, in which parts of a data frame are joined.
func decode(t *testing.T, whole bool, stream []byte, size int) []Frame {
	t.Helper()
	d := Decoder{Whole: whole}
	var frames []Frame
	for piece := range slices.Chunk(stream, size) {
		for len(piece) > 0 {
			f, ok, rest, err := d.Next(piece)
			require.NoError(t, err)
			piece = rest
			if !ok {
				continue
			}
			f.Payload = bytes.Clone(f.Payload)
			if n := len(frames); !whole && n > 0 && f.Type == FrameData && frames[n-1].Type == FrameData {
				frames[n-1].Payload = append(frames[n-1].Payload, f.Payload...)
			} else {
				frames = append(frames, Frame{f.Type, append([]byte{}, f.Payload...)})
			}
		}
	}
	assert.True(t, d.Between())
	return frames
}

func FuzzDecoder(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, FrameData, []byte("x")), FrameFiles, aFiles.Encode()), uint8(3), true)
	f.Add([]byte{0, 0, 0, 0}, uint8(1), false)
	f.Add([]byte{1, 255, 255, 255}, uint8(1), false)
	f.Fuzz(func(t *testing.T, b []byte, size uint8, whole bool) {
		d := Decoder{Whole: whole}
		total := 0
		for piece := range slices.Chunk(b, int(size)+1) {
			for len(piece) > 0 {
				frame, ok, rest, err := d.Next(piece)
				if err != nil {
					return
				}
				if len(rest) >= len(piece) {
					t.Fatal("nothing was taken")
				}
				if ok {
					total += len(frame.Payload)
				}
				piece = rest
			}
		}
		if total > len(b) {
			t.Fatalf("%d bytes came out of %d", total, len(b))
		}
	})
}

// FuzzParse makes sure that what is accepted means the same when it is sent again.
func FuzzParse(f *testing.F) {
	for i, b := range [][]byte{aConnect.Encode(), aReply.Encode(), aHello.Encode(), aWatch.Encode(), aSockets.Encode(), aFiles.Encode(), aTerminal.Encode(), EncodeToken(3)} {
		f.Add(uint8(i), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		switch which % 8 {
		case 0:
			again(t, b, ParseConnect, Connect.Encode)
		case 1:
			again(t, b, ParseReply, Reply.Encode)
		case 2:
			again(t, b, ParseHello, Hello.Encode)
		case 3:
			again(t, b, ParseWatch, Watch.Encode)
		case 4:
			again(t, b, ParseSockets, Sockets.Encode)
		case 5:
			again(t, b, ParseFiles, Files.Encode)
		case 6:
			again(t, b, ParseTerminal, Terminal.Encode)
		case 7:
			again(t, b, ParseToken, EncodeToken)
		}
	})
}

func again[T any](t *testing.T, b []byte, parse func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	v, err := parse(b)
	if err != nil {
		return
	}
	w, err := parse(encode(v))
	require.NoError(t, err)
	assert.Equal(t, v, w)
}
