// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/netns"
)

const chunk = 256 << 10

// BenchmarkStream is one stream of the session by itself: the limit of a tunnel.
func BenchmarkStream(b *testing.B) { benchmarkStream(b, newRig(b)) }

// BenchmarkStreamTLS is the same over TCP with TLS.
func BenchmarkStreamTLS(b *testing.B) { benchmarkStream(b, newTLSRig(b)) }

func benchmarkStream(b *testing.B, r *rig) {
	l := r.peer.Listen("raw")
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c)
	}()
	st, err := r.sess.Open(b.Context(), "raw", nil)
	require.NoError(b, err)
	send(b, st, func() { <-done })
}

func BenchmarkTunnel(b *testing.B) { benchmarkTCP(b, newRig(b)) }

func BenchmarkTunnelTLS(b *testing.B) { benchmarkTCP(b, newTLSRig(b)) }

func BenchmarkVXLAN(b *testing.B) { benchmarkTCP(b, newVXLANRig(b)) }

// benchmarkTCP sends from the DPU to a container and back.
func benchmarkTCP(b *testing.B, r *rig) {
	c := r.container("a")
	r.join(c, false)
	b.Run("in", func(b *testing.B) { tcp(b, r.bridge, c.twin, "10.9.0.2:0") })
	b.Run("out", func(b *testing.B) { tcp(b, c.twin, r.bridge, "10.9.0.1:0") })
}

func BenchmarkVeth(b *testing.B) {
	r := newRig(b)
	tcp(b, r.bridge, r.container("a").shadow, "10.9.0.2:0")
}

func tcp(b *testing.B, from, to *os.File, address string) {
	var l net.Listener
	require.NoError(b, netns.Do(to, func() (err error) { l, err = net.Listen("tcp", address); return err }))
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, chunk)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()
	var c net.Conn
	require.NoError(b, netns.Do(from, func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return err }))
	defer c.Close()
	send(b, c, func() { <-done })
}

// send writes chunks and waits until the other end has seen the last of them.
func send(b *testing.B, c net.Conn, seen func()) {
	buf := make([]byte, chunk)
	b.SetBytes(chunk)
	before := processorTime(b)
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, c.(interface{ CloseWrite() error }).CloseWrite())
	seen()
	// What is left of a busy machine's speed depends on the others; this does not.
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/(chunk>>10), "cpu-ns/KiB")
}

// processorTime is how long the processors have worked for this process: for both ends and all between.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkJoin is what a container's start waits for.
func BenchmarkJoin(b *testing.B) {
	r := newRig(b)
	c := r.container("a")
	for b.Loop() {
		r.join(c, false)
		b.StopTimer()
		c.network.Close()
		r.eventually(c.twin, "! ip link show eth0 2>/dev/null")
		b.StartTimer()
	}
}
