// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/wire"
)

// loot is what the HOST has got out of a DPU, when it was asked to create tasks.
type loot struct {
	mu      sync.Mutex
	created int
	found   []string
	errs    []error
}

// atCreate has the HOST look at all that the DPU serves to it for each task.
func (l *loot) atCreate(look func(t *Thief, exports map[string]wire.Entry) []string) func(*Call) bool {
	return func(c *Call) bool {
		if c.Service != "containerd.task.v3.Task" || c.Method != "Create" {
			return true
		}
		found, err := func() ([]string, error) {
			t, err := c.Pair.Break(context.Background())
			if err != nil {
				return nil, err
			}
			defer t.Close()
			exports, err := t.Exports()
			if err != nil {
				return nil, err
			}
			return look(t, exports), nil
		}()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.created++
		l.found = append(l.found, found...)
		if err != nil {
			l.errs = append(l.errs, err)
		}
		return true
	}
}

// secrets looks for the DPU's file wherever the exports might lead to it.
func secrets(t *Thief, exports map[string]wire.Entry) (found []string) {
	for name, e := range exports {
		for _, path := range [][]string{{}, {canary}, {"vault", canary}, {"root", "vault", canary}} {
			if text, err := t.Read(e.Node, path...); err == nil && strings.Contains(string(text), secret) {
				found = append(found, name+"/"+strings.Join(path, "/"))
			}
		}
	}
	return found
}

// linkTo shows what has one of the names, in whatever directory, as a symbolic link.
func linkTo(target string, is func(name string) bool) func(*Question) bool {
	var mu sync.Mutex
	links := map[uint64]bool{}
	return func(q *Question) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case q.Request.Op == wire.OpLookup && is(q.Request.Name):
			if q.Header.Errno != 0 {
				return false
			}
			links[q.Reply.Entry.Node] = true
			q.Reply.Entry.Attr.Mode = unix.S_IFLNK | 0o777
			q.Reply.Entry.Attr.Size = uint64(len(target))
		case q.Request.Op == wire.OpReadlink && links[q.Request.Node]:
			q.Header.Errno = 0
			q.Reply = wire.Reply{Data: []byte(target)}
		case q.Request.Op == wire.OpGetAttr && links[q.Request.Node]:
			q.Reply.Entry.Attr.Mode = unix.S_IFLNK | 0o777
			q.Reply.Entry.Attr.Size = uint64(len(target))
		default:
			return false
		}
		return true
	}
}

// isNumber tells the names of snapshots.
func isNumber(name string) bool { return name != "" && strings.Trim(name, "0123456789") == "" }

// TestSnapshotsThatAreLinks: what the HOST shows as a link in place of a snapshot is
// mounted by containerd and dockerd, and so would be what it leads to on the DPU.
func TestSnapshotsThatAreLinks(t *testing.T) {
	for name, is := range map[string]func(string) bool{
		"snapshot":      isNumber,
		"all snapshots": func(name string) bool { return name == "snapshots" },
	} {
		t.Run(name, func(t *testing.T) {
			var l loot
			target := vault
			if name != "snapshot" {
				target = "/root"
			}
			tell(t, &Lie{File: linkTo(target, is), Ask: l.atCreate(secrets)})
			refused(t, "docker run --rm --network none "+image()+" cat /"+canary, "input/output error")
			refused(t, "ctr run --rm --runtime io.containerd.offload.v1 --snapshotter offload "+image()+" links cat /"+canary, "input/output error")
			must(t, "ctr c rm links; ctr snapshots --snapshotter offload rm links; true")
			assert.Empty(t, l.found, "of the DPU's files")
		})
	}
}

// TestDirectoriesThatAreLinks: a directory of the HOST that a container is given
// leads nowhere but on the HOST.
func TestDirectoriesThatAreLinks(t *testing.T) {
	run := func(source string) string {
		return "docker run --rm --network none -v " + source + ":/volume " + image() + " sh -c 'cat /volume/* /volume'"
	}
	out, _ := attempt(t, run(shared+"/volume"))
	require.Contains(t, out, ofHost)
	tell(t, nil)
	for target, source := range map[string]string{
		vault:                             shared + "/volume",
		"/root":                           shared + "/volume/vault",
		"../../root/vault":                shared + "/volume",
		vault + "/" + canary:              shared + "/volume",
		"/run/containerd/containerd.sock": shared + "/volume",
		"/dev/fuse":                       shared + "/volume",
		"/proc/self/root" + vault:         shared + "/volume",
	} {
		t.Run(strings.ReplaceAll(target, "/", "_"), func(t *testing.T) {
			var l loot
			bed.liar.Tell(&Lie{File: linkTo(target, func(name string) bool { return name == "volume" }), Ask: l.atCreate(secrets)})
			refused(t, run(source), "a symbolic link of the HOST leads to a file of the DPU")
			assert.Empty(t, l.found, "of the DPU's files")
			assert.Zero(t, l.created, "tasks")
		})
	}
}

// TestReadOnlyIsTheDPUs: what a container was given read-only, the HOST can't write.
func TestReadOnlyIsTheDPUs(t *testing.T) {
	var l loot
	tell(t, &Lie{Ask: l.atCreate(func(t *Thief, exports map[string]wire.Entry) (found []string) {
		for name, e := range exports {
			if text, err := t.Read(e.Node, canary); err != nil || string(text) != secret {
				continue
			}
			made, err := t.Create(e.Node, "made")
			if err == nil && made != unix.EROFS {
				found = append(found, name+" can be written in: "+made.Error())
			}
			written, err := t.Overwrite(e.Node, canary)
			if err == nil && written != unix.EROFS {
				found = append(found, name+" can be written: "+written.Error())
			}
			found = append(found, "read")
		}
		return found
	})})
	require.Equal(t, secret, must(t, "docker run --rm --network none -v "+vault+":/mine:ro "+image()+" cat /mine/"+canary))
	require.Equal(t, []string{"read"}, l.found)
	require.Empty(t, l.errs)
}
