// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// device stands for vhost-device-vsock on the HOST's side: it takes a line with a port, and answers what the other
// side then says in capital letters.
func device(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				if line, err := in.ReadString('\n'); err != nil || line != "CONNECT 7400\n" {
					return
				}
				// In one piece with the first bytes of what follows, as it may arrive.
				fmt.Fprint(conn, "OK 1234\nHELLO ")
				text, _ := io.ReadAll(in)
				fmt.Fprint(conn, strings.ToUpper(string(text)))
			}()
		}
	}()
}

func TestRelay(t *testing.T) {
	dir := t.TempDir()
	socket, target := filepath.Join(dir, "dpu"), filepath.Join(dir, "host")
	device(t, target)
	r, err := startRelay(socket, target, 7400)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := throughRelay(t, socket, "there"); got != "HELLO THERE" {
		t.Errorf("%q", got)
	}

	// A connection that is open when the link is cut ends, and none is made until it is mended.
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, len("HELLO "))); err != nil {
		t.Fatal(err)
	}
	if open := r.Open(); open != 1 {
		t.Errorf("%d connections, not 1", open)
	}
	r.Cut()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes through a relay that is cut", n)
	}
	if got := throughRelay(t, socket, "there"); got != "" {
		t.Errorf("%q through a relay that is cut", got)
	}
	r.Mend()
	if got := throughRelay(t, socket, "again"); got != "HELLO AGAIN" {
		t.Errorf("%q", got)
	}
}

// throughRelay says something, ends its direction and returns all that is answered.
func throughRelay(t *testing.T, socket, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, text)
	_ = conn.(*net.UnixConn).CloseWrite()
	answer, _ := io.ReadAll(conn)
	return string(answer)
}
