// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew: only with a new version of the protocol")

// sentBy returns what a core sends, and nothing more than that.
func sentBy(c *core) []byte {
	ctl, bufs := c.batch(nil, nil, 1<<20)
	for _, b := range bufs {
		ctl = append(ctl, b...)
	}
	c.sent()
	return ctl
}

// TestGolden holds what is sent against testdata/golden.txt, whose lines are the
// examples of docs/wire-session.md.
func TestGolden(t *testing.T) {
	id := sessionID{0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0}
	mine := terms{received: 0x0102030405060708, resume: 5 * time.Minute, window: 64 << 10, streams: 4096}
	c := newCore(coreConfig{dialer: true, replayBytes: minReplayBytes, windowBytes: 128 << 10, memoryBytes: 4 << 20, maxStreams: 16})
	require.NoError(t, c.connect(mine.since(0)))
	var lines []string
	add := func(name string, b []byte) { lines = append(lines, fmt.Sprintf("%s %x", name, b)) }

	add("hello.new", hello{attempt: 1, terms: terms{resume: mine.resume, window: mine.window, streams: mine.streams}}.encode())
	add("hello.resume", hello{id: id, attempt: 2, terms: mine}.encode())
	add("answer.accepted", answer{id: id, terms: mine}.encode())
	add("answer.refused", answer{code: codeRefused, reason: "it does not know session 0f1e2d3c"}.encode())
	add("answer.version", answer{code: codeVersion, reason: "it speaks version 1 of the session protocol, not 2"}.encode())
	add("answer.stale", answer{code: codeStale, reason: "a later connection of the session is there"}.encode())

	f, err := c.open("files", []byte{1, 2})
	require.NoError(t, err)
	add("open", sentBy(c))
	c.send(f, []byte("hello"))
	add("data", sentBy(c))
	seg, payload := newDataFrame(f.id, smallPayload+1)
	clear(payload)
	f.credit -= len(payload)
	require.True(t, c.sendSegment(f, seg))
	add("data.large.header", sentBy(c)[:headerSize])
	f.queue.add(make([]byte, 32<<10))
	c.consume(f, 32<<10)
	add("window", sentBy(c))
	c.stop(f)
	add("stop", sentBy(c))
	c.finish(f)
	add("fin", sentBy(c))
	g, err := c.open("x", nil)
	require.NoError(t, err)
	add("open.second", sentBy(c))
	c.reset(g, "no more")
	add("reset", sentBy(c))
	c.received += 0x1234
	c.ackNow()
	add("ack", sentBy(c))
	c.ping(7)
	add("ping", sentBy(c))
	require.NoError(t, c.receivePing(8))
	add("pong", sentBy(c))
	c.sayBye("done")
	add("bye", sentBy(c))

	got := strings.Join(lines, "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile("testdata/golden.txt", []byte(got), 0o644))
	}
	want, err := os.ReadFile("testdata/golden.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), got)
	checkDocument(t, lines)
}

// since returns the terms of an end that has received n bytes.
func (t terms) since(n uint64) terms {
	t.received = n
	return t
}

// checkDocument makes sure that the examples are in the document as they are here.
func checkDocument(t *testing.T, lines []string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/wire-session.md")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(string(b)), "")
	for _, l := range lines {
		name, bytes, _ := strings.Cut(l, " ")
		_, err := hex.DecodeString(bytes)
		require.NoError(t, err)
		require.Contains(t, text, bytes, "%s is not in docs/wire-session.md", name)
	}
}
