// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

const (
	// readBuffer is what a reader has when little arrives: enough for a small
	// frame. Every session keeps one.
	readBuffer = headerSize + smallPayload + 256
	// largeReadBuffer is what it takes from the pool while much arrives in small
	// frames, or for a frame that needs it.
	largeReadBuffer = 32 << 10
)

// frameReader cuts what arrives into frames. The payload of a large DATA frame is
// read straight into the segment in which it stays.
type frameReader struct {
	a     *attachment
	small [readBuffer]byte
	large *segment

	buf  []byte // small or large
	r, w int    // unread bytes are buf[r:w]
	full bool   // the last read filled buf

	// The large DATA frame that is being read.
	body   *segment
	filled int
}

// frame is a frame as core.receive takes it.
type frame struct {
	frameHeader
	payload []byte
	seg     *segment
}

func (fr *frameReader) init(a *attachment) {
	fr.a = a
	fr.buf = fr.small[:]
}

// close gives back memory.
func (fr *frameReader) close() {
	if fr.large != nil {
		fr.large.release()
		fr.large = nil
	}
	if fr.body != nil {
		fr.body.release()
		fr.body = nil
	}
	fr.buf, fr.r, fr.w = nil, 0, 0
}

// next returns the next frame that has arrived whole. Its payload is good until
// the next call of read.
func (fr *frameReader) next() (f frame, ok bool, err error) {
	have := fr.w - fr.r
	if have < headerSize {
		return f, false, nil
	}
	f.frameHeader, err = parseHeader(fr.buf[fr.r:])
	if err != nil {
		return f, false, err
	}
	if f.typ == frameData && f.length > smallPayload {
		return fr.nextLarge(f)
	}
	if have < f.size() {
		return f, false, nil
	}
	f.payload = fr.buf[fr.r+headerSize : fr.r+f.size()]
	fr.r += f.size()
	return f, true, nil
}

// nextLarge moves what has arrived of a large DATA frame into its segment. Until
// that is full the header stays in buf, to be found by next again.
func (fr *frameReader) nextLarge(f frame) (frame, bool, error) {
	if fr.body == nil {
		fr.body = newSegment(f.length)
		fr.body.grow(f.length)
		fr.filled = 0
	}
	at := fr.r + headerSize
	n := copy(fr.body.buf[fr.filled:], fr.buf[at:fr.w])
	fr.filled += n
	if fr.filled < f.length {
		// All of buf after the header has been moved.
		fr.w = at
		return f, false, nil
	}
	fr.r = at + n
	f.seg, f.payload = fr.body, fr.body.buf
	fr.body = nil
	return f, true, nil
}

// read reads once from the connection, at least one byte, and returns how many.
func (fr *frameReader) read() (int, error) {
	if fr.body != nil {
		return fr.readBody()
	}
	fr.makeRoom()
	n, err := fr.a.read(fr.buf[fr.w:], nil)
	if n > 0 {
		fr.w += n
		fr.full = fr.w == len(fr.buf)
		return n, nil
	}
	return 0, err
}

// readBody reads into the segment of a large frame, and what follows it into buf.
func (fr *frameReader) readBody() (int, error) {
	fr.shrink()
	rest := fr.body.buf[fr.filled:]
	n, err := fr.a.read(rest, fr.buf[fr.w:])
	if n <= 0 {
		return 0, err
	}
	into := min(n, len(rest))
	fr.filled += into
	fr.w += n - into
	fr.full = false
	return n, nil
}

// makeRoom moves what is in buf to its beginning and takes a larger or smaller
// buf as the traffic asks for it.
func (fr *frameReader) makeRoom() {
	switch {
	case fr.r == fr.w:
		fr.r, fr.w = 0, 0
		if fr.large != nil && !fr.full {
			fr.useSmall()
		} else if fr.large == nil && fr.full {
			fr.useLarge()
		}
	case fr.large == nil && (fr.full || !fr.fits()):
		fr.useLarge()
	case fr.r > 0:
		fr.w = copy(fr.buf, fr.buf[fr.r:fr.w])
		fr.r = 0
	}
	fr.full = false
}

// fits reports whether the frame that has begun fits into buf.
func (fr *frameReader) fits() bool {
	if fr.w-fr.r < headerSize {
		return true
	}
	h, err := parseHeader(fr.buf[fr.r:])
	return err != nil || h.size() <= len(fr.buf)
}

// shrink goes back to the small buffer, which has room for the header of the
// large frame that is being read and for the beginning of the next frame.
func (fr *frameReader) shrink() {
	if fr.large != nil {
		fr.useSmall()
		return
	}
	fr.w = copy(fr.buf, fr.buf[fr.r:fr.w])
	fr.r = 0
}

func (fr *frameReader) useLarge() {
	fr.large = newSegment(largeReadBuffer)
	fr.swap(fr.large.grow(largeReadBuffer))
}

// useSmall is called with no more in buf than a header.
func (fr *frameReader) useSmall() {
	old := fr.large
	fr.large = nil
	fr.swap(fr.small[:])
	old.release()
}

func (fr *frameReader) swap(buf []byte) {
	n := copy(buf, fr.buf[fr.r:fr.w])
	fr.buf, fr.r, fr.w = buf, 0, n
}
