// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	acc := NewAcceptor(Config{Name: "dpu"})
	got := make(chan *Session, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				s, fresh, err := acc.Handle(context.Background(), c)
				if err == nil && fresh {
					got <- s
				} else if err != nil {
					t.Log(err)
				}
			}()
		}
	}()
	var last net.Conn
	s, err := Dial(context.Background(), func(ctx context.Context) (net.Conn, error) {
		c, err := net.Dial("unix", l.Addr().String())
		last = c
		return c, err
	}, Config{Name: "host"})
	if err != nil {
		t.Fatal(err)
	}
	peer := <-got
	pl := peer.Listen("echo")
	go func() {
		for {
			c, err := pl.Accept()
			if err != nil {
				return
			}
			go func() {
				n, err := io.Copy(c, c)
				t.Log("echoed", n, err)
				c.(*Stream).CloseWrite()
			}()
		}
	}()
	st, err := s.Open(context.Background(), "echo", []byte("hi"))
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 20<<20)
	rand.Read(data)
	go func() {
		time.Sleep(10 * time.Millisecond)
		last.Close()
	}()
	go func() {
		st.Write(data)
		st.CloseWrite()
	}()
	back, err := io.ReadAll(st)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, back) {
		t.Fatal("differs")
	}
	t.Logf("%+v", s.Stats())
	t0 := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(t0))
	<-peer.Done()
	t.Log(peer.Err(), s.Err())
}
