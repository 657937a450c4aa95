// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"io"
	"net"
	"reflect"
	"testing"
	"unicode"
)

// FuzzFetch holds that nothing of what a peer answers instead of a report reaches a terminal as more than a line.
func FuzzFetch(f *testing.F) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
	f.Add([]byte(head + `{"daemon":"offload-host","version":"\u001b[2J","problems":["a\nb","\u202e"],"links":[{"error":"x"}],"store":{"root":"/"}}`))
	f.Add([]byte(head + "null"))
	f.Add([]byte("HTTP/1.1 500 no\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		r, err := Fetch(context.Background(), func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			go func() {
				_, _ = theirs.Write(answer)
				theirs.Close()
			}()
			return ours, nil
		})
		if err == nil {
			oneLineEach(t, reflect.ValueOf(r))
		}
	})
}

// oneLineEach holds that every text is short and can be printed.
func oneLineEach(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		if len(s) > 4*maxLine {
			t.Fatalf("a line of %d bytes", len(s))
		}
		for _, c := range s {
			if !unicode.IsPrint(c) {
				t.Fatalf("%q has a character that can't be printed", s)
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			oneLineEach(t, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			oneLineEach(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				oneLineEach(t, v.Field(i))
			}
		}
	}
}
