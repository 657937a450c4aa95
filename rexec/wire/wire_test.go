// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

var token = Token{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// samples has one message of each kind.
var samples = map[string]Message{
	"run": &Run{
		Token: token, Caller: "uid 0", Program: "sh", Args: []string{"sh", "-c", "a\xff\n"}, Env: []string{"A=1"},
		EnvOptional: []string{"B=2", "C="}, Dir: "/srv", DirOptional: true, User: "nobody", Group: "5", GroupsSet: true,
		Groups: []string{"7", "audio"}, Umask: 0o27, Rlimits: []Rlimit{{"nofile", 1024, Unlimited}},
		Files:    []File{{0, FileTerminal, 0}, {1, FileSame, 0}, {2, FileOut, 0}, {7, FileBoth, 0}},
		Terminal: &Terminal{Size: Size{24, 80, 640, 480}, Modes: []Mode{{"erase", 127}, {"echo", 1}}}, Detach: true, Background: true,
	},
	"attach":    &Attach{Token: token, ID: "0123abcd", Size: &Size{1, 2, 3, 4}},
	"list":      &List{},
	"wait":      &Wait{ID: "0123abcd"},
	"kill":      &Kill{ID: "0123abcd", Signal: "TERM"},
	"signal":    &Signal{Name: "RTMIN+3", Seq: 300},
	"resize":    &Resize{Size{24, 80, 0, 0}},
	"leave":     &Leave{},
	"started":   &Started{ID: "0123abcd", Pid: 4711, Files: []File{{1, FileOut, 0}}},
	"stopped":   &Stopped{Signal: "TSTP"},
	"continued": &Continued{},
	"exited":    &Exited{Code: 255, Core: true, Signal: "SEGV"},
	"done":      &Done{Seq: 300},
	"failed":    &Failed{Reason: ReasonDenied, Text: "no rule names it"},
	"listing": &Listing{Runs: []RunInfo{{
		ID: "0123abcd", Pid: 4711, User: "root", Caller: "DPU uid 0", Command: []string{"sleep", "9"},
		Started: time.Unix(0, 1795000000123456789), State: "ended", Attached: true, Detach: true, Status: Exited{Code: 3},
	}}},
}

// TestGolden holds the messages against the bytes they were first given.
func TestGolden(t *testing.T) {
	for name, m := range samples {
		t.Run(name, func(t *testing.T) {
			b, err := Encode(m)
			require.NoError(t, err)
			path := filepath.Join("testdata", name+".hex")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, []byte(hex.EncodeToString(b)+"\n"), 0o644))
			}
			golden, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSpace(string(golden)), hex.EncodeToString(b))

			got, err := Read(iotest.OneByteReader(bytes.NewReader(b)))
			require.NoError(t, err)
			assert.Equal(t, m, got)
			for n := range b {
				_, err := Read(bytes.NewReader(b[:n]))
				assert.Error(t, err, "cut after %d bytes", n)
			}
		})
	}
	assert.Len(t, samples, 15)
}

func TestRefuses(t *testing.T) {
	frame := func(k kind, payload string) []byte {
		return append([]byte{0, 0, 0, byte(len(payload)), version, byte(k), 0, 0}, payload...)
	}
	for name, b := range map[string][]byte{
		"version":            {0, 0, 0, 0, 2, byte(kindList), 0, 0},
		"type":               {0, 0, 0, 0, version, 99, 0, 0},
		"reserved":           {0, 0, 0, 0, version, byte(kindList), 0, 1},
		"too long":           {0xff, 0, 0, 0, version, byte(kindList), 0, 0},
		"rest":               frame(kindList, "x"),
		"zero byte":          frame(kindStopped, "\x02A\x00"),
		"string beyond":      frame(kindStopped, "\x09A"),
		"number too large":   frame(kindDone, "\xff\xff\xff\xff\xff\x01"),
		"number too long":    frame(kindDone, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
		"boolean":            frame(kindExited, "\x00\x00\x02"),
		"list without bytes": frame(kindListing, "\xff\x7f"),
		"reason":             frame(kindFailed, "\x63\x00"),
	} {
		_, err := Read(bytes.NewReader(b))
		assert.ErrorIs(t, err, ErrMalformed, name)
	}
	_, err := Read(bytes.NewReader(nil))
	assert.Equal(t, io.EOF, err)
	_, err = Encode(&Wait{ID: strings.Repeat("x", MaxMessage+1)})
	assert.Error(t, err)
}

func TestPreamble(t *testing.T) {
	p := Preamble{PreambleRelayed, token}
	got, err := ReadPreamble(bytes.NewReader(append(p.Encode(), "rest"...)))
	require.NoError(t, err)
	assert.Equal(t, p, got)
	for _, bad := range []string{"", "RX1", "RX1Zxxxxxxxxxxxxxxxx", "RX2Cxxxxxxxxxxxxxxxx"} {
		_, err := ReadPreamble(strings.NewReader(bad))
		assert.Error(t, err, bad)
	}
	_, err = ReadRefusal(bytes.NewReader(Refusal(errors.New("a\x1bb"))))
	assert.EqualError(t, err, "a b")
	b, err := ReadRefusal(strings.NewReader("OFFAxxx"))
	require.NoError(t, err)
	assert.Equal(t, "OFFA", string(b))
}

func TestSignals(t *testing.T) {
	for n := unix.Signal(1); n <= 64; n++ {
		if n == 32 || n == 33 {
			continue
		}
		got, err := ParseSignal(SignalName(n))
		require.NoError(t, err)
		assert.Equal(t, n, got)
	}
	got, err := ParseSignal("sigterm")
	require.NoError(t, err)
	assert.Equal(t, unix.SIGTERM, got)
	for _, bad := range []string{"", "SIG", "15", "RTMIN+31", "RTMIN-1", "NOPE"} {
		_, err := ParseSignal(bad)
		assert.Error(t, err, bad)
	}
}

func TestModes(t *testing.T) {
	from := unix.Termios{Iflag: unix.ICRNL | unix.IUTF8, Oflag: unix.OPOST, Lflag: unix.ECHO | unix.ISIG}
	from.Cc[unix.VINTR], from.Cc[unix.VERASE] = 3, 127
	to := unix.Termios{Iflag: unix.IXON, Lflag: unix.ICANON, Cflag: unix.CS8}
	SetModes(&to, append(Modes(&from), Mode{"unheard-of", 1}))
	want := from
	want.Cflag = unix.CS8
	assert.Equal(t, want, to)
}

func FuzzRead(f *testing.F) {
	for _, m := range samples {
		b, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := Encode(m)
		require.NoError(t, err)
		same, err := Read(bytes.NewReader(again))
		require.NoError(t, err)
		assert.Equal(t, m, same)
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add(IOHeader{token, 3}.Encode())
	f.Add(Preamble{PreambleGone, token}.Encode())
	f.Add(Refusal(errors.New("no")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseIOHeader(b); err == nil {
			assert.Equal(t, b, h.Encode())
		}
		if p, err := ReadPreamble(bytes.NewReader(b)); err == nil {
			assert.Equal(t, b[:PreambleSize], p.Encode())
		}
		_, _ = ReadRefusal(bytes.NewReader(b))
	})
}
