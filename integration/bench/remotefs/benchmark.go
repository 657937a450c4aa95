// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/bench"
)

// benchmark gathers times in seconds by workload and peer.
type benchmark struct {
	dir, data, mountpoint string
	size                  int64
	files                 int

	times map[string]map[string][]float64
	link  []float64 // bytes a second of a TCP stream
}

func (b *benchmark) archive() string { return filepath.Join(b.dir, "tree.tar") }

// prepare makes the tree of small files, as an archive and as a git repository
// whose files are elsewhere.
func (b *benchmark) prepare() error {
	b.mountpoint = filepath.Join(b.dir, "mnt")
	b.times = map[string]map[string][]float64{}
	script := fmt.Sprintf(`set -e
mkdir -p %[1]s/data/old %[1]s/mnt %[1]s/repository
cd %[1]s/data/old
for i in $(seq 0 %[2]d); do : >file$i; done
cd %[1]s/repository
for d in $(seq 1 20); do mkdir d$d; for i in $(seq 1 %[3]d); do head -c $((i * 40)) /dev/zero >d$d/f$i; done; done
tar cf %[1]s/tree.tar .
git init -q --separate-git-dir %[1]s/git .
git add . >/dev/null
`, b.dir, b.files-1, max(b.files/20, 1))
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("prepare: %w: %s", err, out)
	}
	return nil
}

// round measures each peer once.
func (b *benchmark) round() error {
	rate, err := b.stream()
	if err != nil {
		return fmt.Errorf("measure a TCP stream: %w", err)
	}
	b.link = append(b.link, rate)
	for i := range peers {
		peer := peers[(i+len(b.link))%len(peers)]
		if err := b.peer(peer); err != nil {
			return fmt.Errorf("%s: %w", peer, err)
		}
	}
	return nil
}

func (b *benchmark) peer(peer string) error {
	stop, err := mount(peer, b.data, b.mountpoint)
	if err != nil {
		return err
	}
	defer stop()
	dir := filepath.Join(b.mountpoint, "work")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, w := range workloads {
		if w.name == "read large file, cold" {
			if err := forget(large(dir)); err != nil {
				return err
			}
		}
		begin := time.Now()
		if err := w.run(b, dir); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if b.times[w.name] == nil {
			b.times[w.name] = map[string][]float64{}
		}
		b.times[w.name][peer] = append(b.times[w.name][peer], time.Since(begin).Seconds())
	}
	return os.RemoveAll(dir)
}

// forget makes this machine's kernel forget the pages of a file on the mount.
func forget(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsync(fd); err != nil {
		return err
	}
	return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
}

// stream gives what one TCP connection between two processes carries, in bytes a
// second.
func (b *benchmark) stream() (float64, error) {
	sink, err := start("sink", "-")
	if err != nil {
		return 0, err
	}
	defer sink.stop()
	c, err := net.Dial("tcp", sink.line)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, block)
	begin := time.Now()
	for at := int64(0); at < b.size; at += block {
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	if _, err := c.Read(buf[:1]); err != nil {
		return 0, err
	}
	return float64(b.size) / time.Since(begin).Seconds(), nil
}

// rows compares ours with each peer, by medians.
func (b *benchmark) rows() []bench.Row {
	var rows []bench.Row
	for _, w := range workloads {
		times := b.times[w.name]
		unit, better := "s", bench.Lower
		figure := func(peer string) float64 { return bench.Quantile(times[peer], 0.5) }
		switch {
		case w.bytes != nil:
			unit, better = "B/s", bench.Higher
			figure = func(peer string) float64 { return float64(w.bytes(b)) / bench.Quantile(times[peer], 0.5) }
		case w.each != nil:
			figure = func(peer string) float64 { return bench.Quantile(times[peer], 0.5) / float64(w.each(b)) }
		}
		for _, peer := range peers[1:] {
			rows = append(rows, bench.NewRow(w.name, peer, unit, figure(ours), figure(peer), goal(&w, peer, better), better, len(times[ours])))
		}
		if w.bytes != nil && w.name != "read large file, warm" {
			rows = append(rows, bench.NewRow(w.name, "one TCP stream", unit, figure(ours), bench.Quantile(b.link, 0.5), 0.8, better, len(b.link)))
		}
	}
	return rows
}

// goal is what the ratio with a peer is to be: as good as sshfs at least, within
// the workload's goal of go-fuse's loopback. The file system itself is there for
// comparison, without a goal.
func goal(w *workload, peer, better string) float64 {
	switch {
	case peer == native:
		return 0
	case peer == sshfs:
		return 1
	case better == bench.Higher:
		return 1 / w.goal
	}
	return w.goal
}
