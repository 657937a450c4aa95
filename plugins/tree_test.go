// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// tree describes everything below dir that a container could tell, a line for
// each file, sorted.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	links := map[uint64]string{} // first name of each inode
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := describe(dir, path, links)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		t.Fatalf("walk %s: %v", dir, err)
	}
	return lines
}

func describe(dir, path string, links map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	name := strings.TrimPrefix(path, dir)
	var b strings.Builder
	fmt.Fprintf(&b, "%s mode=%o owner=%d:%d", name, st.Mode, st.Uid, st.Gid)
	if name != "" {
		fmt.Fprintf(&b, " mtime=%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err := digestFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " size=%d sum=%x", st.Size, sum)
		if first, ok := links[st.Ino]; ok && st.Nlink > 1 {
			fmt.Fprintf(&b, " link=%s", first)
		} else {
			links[st.Ino] = name
		}
	case unix.S_IFLNK:
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " to=%s", to)
	case unix.S_IFCHR, unix.S_IFBLK:
		fmt.Fprintf(&b, " dev=%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	attrs, err := xattrs(path)
	if err != nil {
		return "", err
	}
	for _, a := range attrs {
		b.WriteString(" " + a)
	}
	return b.String(), nil
}

// digestFile sums a file, but a large sparse one by its head and tail only.
func digestFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	r := io.Reader(f)
	if st.Size() > 64<<20 {
		r = io.MultiReader(io.NewSectionReader(f, 0, 1<<20), io.NewSectionReader(f, st.Size()-1<<20, 1<<20))
	}
	_, err = io.Copy(h, r)
	return h.Sum(nil), err
}

func xattrs(path string) ([]string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
	}
	var all []string
	for _, name := range strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		v := make([]byte, 4096)
		m, err := unix.Lgetxattr(path, name, v)
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		all = append(all, fmt.Sprintf("%s=%x", name, v[:m]))
	}
	sort.Strings(all)
	return all, nil
}

// same fails if two descriptions of trees differ, showing where.
func same(t testing.TB, want, got []string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("expected %s", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Errorf("got      %s", l)
		}
	}
	t.Error("trees differ")
}

// entry is one file of a layer.
type entry struct {
	tar.Header
	content string
	sparse  int64 // size of a file of zeros, in place of content
}

var layerTime = time.Unix(1700000000, 0)

func dir(name string, mode int64) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}}
}

func file(name, content string, mode int64) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content: content}
}

func link(kind byte, name, to string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o777}}
}

func device(kind byte, name string, major, minor int64) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o660, Devmajor: major, Devminor: minor}}
}

func (e entry) owned(uid, gid int) entry { e.Uid, e.Gid = uid, gid; return e }

func (e entry) attr(name, value string) entry {
	e.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
	return e
}

// writeTar packs entries as a layer's tar stream.
func writeTar(w io.Writer, entries []entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := e.Header
		if h.ModTime.IsZero() {
			h.ModTime = layerTime
		}
		h.Size = int64(len(e.content)) + e.sparse
		if err := tw.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, io.MultiReader(strings.NewReader(e.content), io.LimitReader(zeros{}, e.sparse))); err != nil {
			return err
		}
	}
	return tw.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeTar(&b, entries); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}
