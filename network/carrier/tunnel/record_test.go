// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func record(n int, fill byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(n))
	return append(b, bytes.Repeat([]byte{fill}, n)...)
}

func TestSplitterGivesWholeRecords(t *testing.T) {
	stream := append(append(record(24, 1), record(headerSize+maxFrame, 2)...), record(60, 3)...)
	for _, piece := range []int{1, 3, 4, 5, 28, 29, 1000, 65536, len(stream)} {
		var got []int
		s := splitter{each: func(r []byte) error {
			require.Equal(t, bytes.Repeat(r[:1], len(r)), r)
			got = append(got, len(r))
			return nil
		}}
		for b := stream; len(b) > 0; b = b[min(piece, len(b)):] {
			require.NoError(t, s.feed(b[:min(piece, len(b))]))
		}
		require.Equal(t, []int{24, headerSize + maxFrame, 60}, got, "in pieces of %d", piece)
		require.Nil(t, s.part, "nothing is kept between records")
	}
}

func TestSplitterRefusesImpossibleLengths(t *testing.T) {
	for _, n := range []uint32{0, headerSize + minFrame - 1, headerSize + maxFrame + 1, 1 << 31, 1<<32 - 1} {
		s := splitter{each: func([]byte) error { t.Error("a record"); return nil }}
		b := append(binary.LittleEndian.AppendUint32(nil, n), make([]byte, 100)...)
		require.ErrorIs(t, s.feed(b), errLength)
		s = splitter{each: s.each}
		var err error
		for i := 0; i < len(b) && err == nil; i++ {
			err = s.feed(b[i : i+1])
		}
		require.ErrorIs(t, err, errLength)
	}
}

func header(flags, gso byte, headers, size, start, offset uint16) []byte {
	b := []byte{flags, gso}
	for _, v := range []uint16{headers, size, start, offset} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return append(b, make([]byte, 100)...)
}

func TestPlausible(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []byte
		want   bool
	}{
		{"whole", header(0, 0, 0, 0, 0, 0), true},
		{"checked", header(dataValid, 0, 0, 0, 0, 0), true},
		{"without a checksum", header(needsChecksum, 0, 0, 0, 34, 16), true},
		{"TCP to be cut", header(needsChecksum, gsoTCP4, 54, 1448, 34, 16), true},
		{"TCP over IPv6 to be cut, with ECN", header(needsChecksum, gsoTCP6|gsoECN, 74, 1428, 54, 16), true},
		{"UDP to be cut", header(needsChecksum, gsoUDP, 42, 1400, 34, 6), true},
		{"to be cut, with a checksum", header(0, gsoTCP4, 54, 1448, 34, 16), false},
		{"to be cut into nothing", header(needsChecksum, gsoTCP4, 54, 0, 34, 16), false},
		{"headers beyond its end", header(0, 0, 101, 0, 0, 0), false},
		{"checksum beyond its end", header(needsChecksum, 0, 0, 0, 90, 9), false},
		{"checksum at its end", header(needsChecksum, 0, 0, 0, 90, 8), true},
		{"unknown flag", header(4, 0, 0, 0, 0, 0), false},
		{"UFO", header(needsChecksum, 3, 42, 1400, 34, 6), false},
		{"ECN alone", header(0, gsoECN, 0, 0, 0, 0), false},
	} {
		require.Equal(t, c.want, plausible(c.header), c.name)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add(append(record(24, 1), record(60, 3)...), 3)
	f.Add([]byte{1, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		if piece < 1 {
			return
		}
		whole, pieces := split(stream, len(stream)), split(stream, piece)
		if !bytes.Equal(whole, pieces) {
			t.Fatalf("%x in one piece, %x in pieces of %d", whole, pieces, piece)
		}
	})
}

func split(stream []byte, piece int) (out []byte) {
	s := splitter{each: func(r []byte) error {
		_ = plausible(r)
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(r))), r...)
		return nil
	}}
	defer s.drop()
	for b := stream; len(b) > 0; b = b[min(piece, len(b)):] {
		if s.feed(b[:min(piece, len(b))]) != nil {
			break
		}
	}
	return out
}

func TestWholeRecords(t *testing.T) {
	short, long := record(60, 1), record(60000, 2)
	for _, c := range []struct {
		b     []byte
		limit int
		want  int
	}{
		{short, 100, len(short)},
		{short, 10, len(short)}, // one at least
		{append(append([]byte{}, short...), short...), 100, len(short)},
		{append(append([]byte{}, short...), short...), 128, 2 * len(short)},
		{append(append([]byte{}, long...), short...), 65536, len(long) + len(short)},
		{append(append([]byte{}, long...), long...), 65536, len(long)},
	} {
		require.Equal(t, c.want, wholeRecords(c.b, c.limit))
	}
}
