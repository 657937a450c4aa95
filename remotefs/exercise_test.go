// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package remotefs_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
)

// exercise does operations at random on one file and on a copy of it in memory,
// in the manner of the program fsx.
type exercise struct {
	t    *testing.T
	rng  *rand.Rand
	path string
	f    *os.File
	want []byte
}

const exerciseSize = 256 << 10

func TestExercise(t *testing.T) {
	steps := 3000
	if testing.Short() {
		steps = 300
	}
	for name, cache := range caches {
		t.Run(name, func(t *testing.T) {
			far, near := apart(t, name)
			e := &exercise{t: t, rng: rand.New(rand.NewPCG(5, uint64(cache))), path: filepath.Join(far, "f")}
			e.open(os.O_CREATE)
			for range steps {
				e.step(cache != client.CacheNone)
			}
			require.NoError(t, e.f.Close())
			require.True(t, bytes.Equal(e.want, []byte(read(t, filepath.Join(near, "f")))), "the file on the server")
		})
	}
}

func (e *exercise) open(flags int) {
	if e.f != nil {
		require.NoError(e.t, e.f.Close())
	}
	var err error
	e.f, err = os.OpenFile(e.path, os.O_RDWR|flags, 0o644)
	require.NoError(e.t, err)
}

// extent is a part of the file, which may reach beyond its end if grow is set.
func (e *exercise) extent(grow bool) (off, n int) {
	limit := len(e.want)
	if grow {
		limit = exerciseSize
	}
	if limit == 0 {
		return 0, 0
	}
	off = e.rng.IntN(limit)
	return off, 1 + e.rng.IntN(min(limit-off, 40<<10))
}

func (e *exercise) grow(size int) {
	if size > len(e.want) {
		e.want = append(e.want, make([]byte, size-len(e.want))...)
	}
}

func (e *exercise) bytes(n int) []byte {
	b := make([]byte, n)
	fill := byte(1 + e.rng.IntN(255))
	for i := range b {
		b[i] = fill
	}
	return b
}

func (e *exercise) step(mmap bool) {
	switch e.rng.IntN(10) {
	case 0, 1:
		off, n := e.extent(true)
		b := e.bytes(n)
		_, err := e.f.WriteAt(b, int64(off))
		require.NoError(e.t, err)
		e.grow(off + n)
		copy(e.want[off:], b)
	case 2, 3:
		off, n := e.extent(false)
		e.check(off, n)
	case 4:
		size := e.rng.IntN(exerciseSize)
		require.NoError(e.t, e.f.Truncate(int64(size)))
		e.grow(size)
		e.want = e.want[:size]
	case 5:
		off, n := e.extent(false)
		if n > 0 {
			require.NoError(e.t, unix.Fallocate(int(e.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n)))
			clear(e.want[off : off+n])
		}
	case 6:
		off, n := e.extent(true)
		require.NoError(e.t, unix.Fallocate(int(e.f.Fd()), 0, int64(off), int64(n)))
		e.grow(off + n)
	case 7:
		e.open(0)
		var st unix.Stat_t
		require.NoError(e.t, unix.Stat(e.path, &st))
		require.EqualValues(e.t, len(e.want), st.Size)
	case 8, 9:
		if mmap {
			e.mapped()
		}
	}
}

func (e *exercise) check(off, n int) {
	got := make([]byte, n)
	_, err := e.f.ReadAt(got, int64(off))
	if n > 0 {
		require.NoError(e.t, err)
	}
	require.True(e.t, bytes.Equal(e.want[off:off+n], got), "%d bytes at %d of %d", n, off, len(e.want))
}

// mapped reads and writes through a shared mapping.
func (e *exercise) mapped() {
	if len(e.want) == 0 {
		return
	}
	m, err := unix.Mmap(int(e.f.Fd()), 0, len(e.want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(e.t, err)
	off, n := e.extent(false)
	require.True(e.t, bytes.Equal(e.want[off:off+n], m[off:off+n]), "%d mapped bytes at %d of %d", n, off, len(e.want))
	b := e.bytes(n)
	copy(m[off:], b)
	copy(e.want[off:], b)
	if e.rng.IntN(2) == 0 {
		require.NoError(e.t, unix.Msync(m, unix.MS_SYNC))
	}
	require.NoError(e.t, unix.Munmap(m))
}
