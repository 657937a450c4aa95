// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/container-offload/offload/plugins/wire"
)

var (
	epoch   = time.Date(2024, 2, 29, 12, 0, 0, 5, time.UTC)
	applyOf = wire.ApplyRequest{Snapshot: 17, MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: digest.FromString("layer"), Size: 4096, Layered: true, Sync: true}
	diffOf  = wire.DiffRequest{Lower: 3, Upper: 17, MediaType: "application/vnd.oci.image.layer.v1.tar", Epoch: &epoch}
	result  = wire.Result{Uncompressed: digest.FromString("tar"), UncompressedSize: 10240}
)

// golden compares bytes with the file that documents them.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: expected\n%q\ngot\n%q", name, want, got)
	}
}

func TestGolden(t *testing.T) {
	a, err := applyOf.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "apply.json", a)
	d, err := diffOf.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.json", d)
	var b bytes.Buffer
	if err := wire.WriteResult(&b, result); err != nil {
		t.Fatal(err)
	}
	golden(t, "result.frame", b.Bytes())
	b.Reset()
	if err := wire.WriteError(&b, fmt.Errorf("unpack into snapshot 17: %w", syscall.ENOSPC)); err != nil {
		t.Fatal(err)
	}
	golden(t, "error.frame", b.Bytes())
	b.Reset()
	if _, err := wire.NewDataWriter(&b).Write([]byte("tar")); err != nil {
		t.Fatal(err)
	}
	golden(t, "data.frame", b.Bytes())
}

func TestRequestsComeThrough(t *testing.T) {
	h, err := applyOf.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ParseApply(h); err != nil || got != applyOf {
		t.Errorf("expected %+v, got %+v, %v", applyOf, got, err)
	}
	if h, err = diffOf.Encode(); err != nil {
		t.Fatal(err)
	}
	got, err := wire.ParseDiff(h)
	if err != nil || got.Lower != 3 || got.Upper != 17 || got.MediaType != diffOf.MediaType || !got.Epoch.Equal(epoch) {
		t.Errorf("expected %+v, got %+v, %v", diffOf, got, err)
	}
}

func TestBadRequests(t *testing.T) {
	good, err := applyOf.Encode()
	if err != nil {
		t.Fatal(err)
	}
	with := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	for name, h := range map[string][]byte{
		"empty":             nil,
		"not json":          []byte("x"),
		"null":              []byte("null"),
		"two values":        append(bytes.Clone(good), good...),
		"unknown field":     with(`"sync"`, `"sink"`),
		"newer version":     with(`"version":1`, `"version":2`),
		"snapshot 0":        with(`"17"`, `"0"`),
		"leading zero":      with(`"17"`, `"017"`),
		"sign":              with(`"17"`, `"+17"`),
		"path":              with(`"17"`, `"../17"`),
		"too large":         with(`"17"`, `"18446744073709551616"`),
		"negative size":     with(`4096`, `-1`),
		"enormous":          with(`4096`, `1099511627777`),
		"fraction":          with(`4096`, `0.5`),
		"bad digest":        with(`sha256:`, `sha256:zz`),
		"unknown algorithm": with(`sha256:`, `md5:`),
		"no media type":     with(applyOf.MediaType, ``),
		"odd media type":    with(applyOf.MediaType, `a b`),
		"long media type":   with(applyOf.MediaType, strings.Repeat("a", 256)),
		"long header":       append(bytes.Clone(good), bytes.Repeat([]byte(" "), wire.MaxHeader)...),
	} {
		if _, err := wire.ParseApply(h); !errdefs.IsInvalidArgument(err) {
			t.Errorf("apply, %s: expected invalid argument, got %v", name, err)
		}
	}
	for name, h := range map[string]string{
		"no upper":  `{"version":1,"upper":"","mediaType":"x"}`,
		"bad upper": `{"version":1,"upper":"x","mediaType":"x"}`,
		"bad lower": `{"version":1,"upper":"1","lower":"x","mediaType":"x"}`,
		"no type":   `{"version":1,"upper":"1"}`,
		"version":   `{"version":0,"upper":"1","mediaType":"x"}`,
		"epoch":     `{"version":1,"upper":"1","mediaType":"x","epoch":"today"}`,
	} {
		if _, err := wire.ParseDiff([]byte(h)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("diff, %s: expected invalid argument, got %v", name, err)
		}
	}
	if _, err := (wire.ApplyRequest{}).Encode(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("encode nothing: %v", err)
	}
	if _, err := (wire.DiffRequest{}).Encode(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("encode nothing: %v", err)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, c := range []struct{ sent, kind error }{
		{syscall.ENOSPC, wire.ErrNoSpace},
		{syscall.ENOSPC, syscall.ENOSPC},
		{syscall.EDQUOT, errdefs.ErrResourceExhausted},
		{errdefs.ErrNotFound, errdefs.ErrNotFound},
		{errdefs.ErrFailedPrecondition, errdefs.ErrFailedPrecondition},
		{context.Canceled, context.Canceled},
		{errdefs.ErrNotImplemented, errdefs.ErrUnknown},
		{io.ErrUnexpectedEOF, errdefs.ErrUnknown},
	} {
		var b bytes.Buffer
		if err := wire.WriteError(&b, fmt.Errorf("write %q: %w", "file", c.sent)); err != nil {
			t.Fatal(err)
		}
		_, err := wire.ReadResult(&b)
		if !errors.Is(err, c.kind) || errdefs.IsNotImplemented(err) || !wire.FromHost(err) {
			t.Errorf("%v: expected %v, got %v", c.sent, c.kind, err)
		}
		if want := "host: write \"file\": " + c.sent.Error(); err.Error() != want {
			t.Errorf("expected %q, got %q", want, err)
		}
	}
}

func TestLongAndUnprintableErrors(t *testing.T) {
	for _, message := range []string{
		strings.Repeat("x", 1<<20), strings.Repeat("\x00", 1<<20), strings.Repeat("\"", 1<<20), strings.Repeat("\\", 1<<20),
		strings.Repeat("<", 1<<20), strings.Repeat("\xff", 1<<20), strings.Repeat("\u2028", 1<<20), strings.Repeat("日", 1<<20), "\x1b[31m\n",
	} {
		var b bytes.Buffer
		if err := wire.WriteError(&b, errors.New(message)); err != nil {
			t.Fatal(err)
		}
		_, err := wire.ReadResult(&b)
		if !wire.FromHost(err) {
			t.Fatalf("%.10q: %v", message, err)
		}
		if len(err.Error()) > 8<<10 || strings.ContainsAny(err.Error(), "\x00\n\x1b") {
			t.Errorf("%.10q: got %.100q", message, err)
		}
	}
}

func TestFlat(t *testing.T) {
	err := wire.Flat(fmt.Errorf("a: %w: %w", io.EOF, errdefs.ErrNotFound))
	if !errdefs.IsNotFound(err) || err.Error() != "a: EOF: not found" || wire.FromHost(err) {
		t.Errorf("got %v", err)
	}
	if err := wire.Flat(nil); err != nil {
		t.Errorf("got %v", err)
	}
	if err := wire.Flat(wire.RemoteError("x", wire.ErrNoSpace)); !errors.Is(err, syscall.ENOSPC) || !errdefs.IsResourceExhausted(err) || !wire.FromHost(err) {
		t.Errorf("got %v", err)
	}
}

func TestDataComesThrough(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 40000) // more than two frames
	var b bytes.Buffer
	w := wire.NewDataWriter(&b)
	for _, p := range [][]byte{nil, sent[:1], sent[1:]} {
		if n, err := w.Write(p); err != nil || n != len(p) {
			t.Fatal(n, err)
		}
	}
	if err := wire.WriteResult(&b, result); err != nil {
		t.Fatal(err)
	}
	r := wire.NewDataReader(&b)
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, sent) || r.Result() != result {
		t.Errorf("%d of %d bytes, %+v, %v", len(got), len(sent), r.Result(), err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %d %v", n, err)
	}
}

func TestBrokenStreams(t *testing.T) {
	for name, c := range map[string]struct {
		b    string
		kind error
	}{
		"nothing":          {"", errdefs.ErrUnavailable},
		"half a header":    {"D\x00", errdefs.ErrUnavailable},
		"header only":      {"D\x00\x00\x00\x04", errdefs.ErrUnavailable},
		"half of data":     {"D\x00\x00\x00\x04ab", errdefs.ErrUnavailable},
		"no end":           {"D\x00\x00\x00\x02ab", errdefs.ErrUnavailable},
		"half of a result": {"R\x00\x00\x00\x04{", errdefs.ErrUnavailable},
		"empty data":       {"D\x00\x00\x00\x00", wire.ErrProtocol},
		"too much data":    {"D\x00\x04\x00\x01", wire.ErrProtocol},
		"all there is":     {"D\xff\xff\xff\xff", wire.ErrProtocol},
		"large result":     {"R\x00\x00\x20\x01", wire.ErrProtocol},
		"large error":      {"E\x7f\xff\xff\xff", wire.ErrProtocol},
		"unknown kind":     {"X\x00\x00\x00\x00", wire.ErrProtocol},
		"result no json":   {"R\x00\x00\x00\x01x", wire.ErrProtocol},
		"error no json":    {"E\x00\x00\x00\x01x", wire.ErrProtocol},
		"result of lies":   {"R\x00\x00\x00\x2b" + `{"uncompressed":"x","uncompressedSize":-10}`, wire.ErrProtocol},
	} {
		r := wire.NewDataReader(strings.NewReader(c.b))
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, c.kind) {
			t.Errorf("%s: expected %v, got %v", name, c.kind, err)
		}
		if r.Result() != (wire.Result{}) {
			t.Errorf("%s: result %+v", name, r.Result())
		}
	}
	if _, err := wire.ReadResult(strings.NewReader("D\x00\x00\x00\x02ab")); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("data on an apply stream: %v", err)
	}
}

func FuzzParseApply(f *testing.F) {
	good, _ := applyOf.Encode()
	for _, s := range [][]byte{good, []byte(`{}`), []byte(`{"version":1,"snapshot":"1"}`)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.ParseApply(b)
		if err != nil {
			return
		}
		h, err := r.Encode()
		if err != nil {
			t.Fatalf("%+v was read and can't be written: %v", r, err)
		}
		if again, err := wire.ParseApply(h); err != nil || again != r {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzParseDiff(f *testing.F) {
	good, _ := diffOf.Encode()
	for _, s := range [][]byte{good, []byte(`{}`), []byte(`{"version":1,"upper":"1","mediaType":"x"}`)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.ParseDiff(b)
		if err != nil {
			return
		}
		if _, err := r.Encode(); err != nil {
			t.Fatalf("%+v was read and can't be written: %v", r, err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	for _, name := range []string{"result.frame", "error.frame", "data.frame"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewDataReader(bytes.NewReader(b))
		n, err := io.Copy(io.Discard, r)
		if n > int64(len(b)) {
			t.Fatalf("%d bytes out of %d", n, len(b))
		}
		if (err == nil) != (r.Result() != wire.Result{}) {
			t.Fatalf("result %+v with error %v", r.Result(), err)
		}
		if _, err := wire.ReadResult(bytes.NewReader(b)); err == nil && b[0] != 'R' {
			t.Fatalf("a result out of %q", b)
		}
	})
}

func FuzzParseSource(f *testing.F) {
	for _, s := range []string{"snapshots/1", "snapshots/01", "snapshots/1/", "/snapshots/1", "snapshots/../1", "snapshots/18446744073709551615"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := wire.ParseSource(s); err == nil && id.Source() != s {
			t.Fatalf("%q is also %q", s, id.Source())
		}
	})
}
