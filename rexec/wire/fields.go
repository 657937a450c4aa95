// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"
)

func (*Run) kind() kind       { return kindRun }
func (*Attach) kind() kind    { return kindAttach }
func (*List) kind() kind      { return kindList }
func (*Wait) kind() kind      { return kindWait }
func (*Kill) kind() kind      { return kindKill }
func (*Signal) kind() kind    { return kindSignal }
func (*Resize) kind() kind    { return kindResize }
func (*Leave) kind() kind     { return kindLeave }
func (*Started) kind() kind   { return kindStarted }
func (*Stopped) kind() kind   { return kindStopped }
func (*Continued) kind() kind { return kindContinued }
func (*Exited) kind() kind    { return kindExited }
func (*Done) kind() kind      { return kindDone }
func (*Failed) kind() kind    { return kindFailed }
func (*Listing) kind() kind   { return kindListing }

func (m *Run) encode(e *encoder) {
	e.token(m.Token)
	e.string(m.Caller)
	e.string(m.Program)
	e.strings(m.Args)
	e.strings(m.Env)
	e.strings(m.EnvOptional)
	e.string(m.Dir)
	e.bool(m.DirOptional)
	e.string(m.User)
	e.string(m.Group)
	e.bool(m.GroupsSet)
	e.strings(m.Groups)
	e.uint(uint64(m.Umask))
	e.uint(uint64(len(m.Rlimits)))
	for _, r := range m.Rlimits {
		e.string(r.Name)
		e.uint(r.Soft)
		e.uint(r.Hard)
	}
	e.files(m.Files)
	e.bool(m.Terminal != nil)
	if m.Terminal != nil {
		e.size(m.Terminal.Size)
		e.uint(uint64(len(m.Terminal.Modes)))
		for _, v := range m.Terminal.Modes {
			e.string(v.Name)
			e.uint(uint64(v.Value))
		}
	}
	e.bool(m.Detach)
	e.bool(m.Background)
}

func (m *Run) decode(d *decoder) {
	m.Token = d.token()
	m.Caller = d.text()
	m.Program = d.text()
	m.Args = d.texts()
	m.Env = d.texts()
	m.EnvOptional = d.texts()
	m.Dir = d.text()
	m.DirOptional = d.bool()
	m.User = d.text()
	m.Group = d.text()
	m.GroupsSet = d.bool()
	m.Groups = d.texts()
	m.Umask = uint16(d.uint(0o777))
	for range d.count() {
		m.Rlimits = append(m.Rlimits, Rlimit{d.text(), d.uint(Unlimited), d.uint(Unlimited)})
	}
	m.Files = d.files()
	if d.bool() {
		m.Terminal = &Terminal{Size: d.size()}
		for range d.count() {
			m.Terminal.Modes = append(m.Terminal.Modes, Mode{d.text(), uint32(d.uint(math.MaxUint32))})
		}
	}
	m.Detach = d.bool()
	m.Background = d.bool()
}

func (m *Attach) encode(e *encoder) {
	e.token(m.Token)
	e.string(m.ID)
	e.bool(m.Size != nil)
	if m.Size != nil {
		e.size(*m.Size)
	}
}

func (m *Attach) decode(d *decoder) {
	m.Token = d.token()
	m.ID = d.text()
	if d.bool() {
		s := d.size()
		m.Size = &s
	}
}

func (*List) encode(*encoder) {}
func (*List) decode(*decoder) {}

func (m *Wait) encode(e *encoder) { e.string(m.ID) }
func (m *Wait) decode(d *decoder) { m.ID = d.text() }

func (m *Kill) encode(e *encoder) { e.string(m.ID); e.string(m.Signal) }
func (m *Kill) decode(d *decoder) { m.ID = d.text(); m.Signal = d.text() }

func (m *Signal) encode(e *encoder) { e.string(m.Name); e.uint(uint64(m.Seq)) }
func (m *Signal) decode(d *decoder) { m.Name = d.text(); m.Seq = uint32(d.uint(math.MaxUint32)) }

func (m *Resize) encode(e *encoder) { e.size(m.Size) }
func (m *Resize) decode(d *decoder) { m.Size = d.size() }

func (*Leave) encode(*encoder) {}
func (*Leave) decode(*decoder) {}

func (m *Started) encode(e *encoder) {
	e.string(m.ID)
	e.uint(uint64(m.Pid))
	e.files(m.Files)
}

func (m *Started) decode(d *decoder) {
	m.ID = d.text()
	m.Pid = int32(d.uint(math.MaxInt32))
	m.Files = d.files()
}

func (m *Stopped) encode(e *encoder) { e.string(m.Signal) }
func (m *Stopped) decode(d *decoder) { m.Signal = d.text() }

func (*Continued) encode(*encoder) {}
func (*Continued) decode(*decoder) {}

func (m *Exited) encode(e *encoder) {
	e.uint(uint64(m.Code))
	e.string(m.Signal)
	e.bool(m.Core)
}

func (m *Exited) decode(d *decoder) {
	m.Code = uint8(d.uint(math.MaxUint8))
	m.Signal = d.text()
	m.Core = d.bool()
}

func (m *Done) encode(e *encoder) { e.uint(uint64(m.Seq)) }
func (m *Done) decode(d *decoder) { m.Seq = uint32(d.uint(math.MaxUint32)) }

func (m *Failed) encode(e *encoder) {
	e.uint(uint64(m.Reason))
	e.string(m.Text[:min(len(m.Text), maxReasonText)])
}

func (m *Failed) decode(d *decoder) {
	m.Reason = Reason(d.uint(uint64(reasons - 1)))
	m.Text = d.text()
}

func (m *Listing) encode(e *encoder) {
	e.uint(uint64(len(m.Runs)))
	for i := range m.Runs {
		m.Runs[i].encode(e)
	}
}

func (m *Listing) decode(d *decoder) {
	for range d.count() {
		var r RunInfo
		r.decode(d)
		m.Runs = append(m.Runs, r)
	}
}

func (r *RunInfo) encode(e *encoder) {
	e.string(r.ID)
	e.uint(uint64(r.Pid))
	e.string(r.User)
	e.string(r.Caller)
	e.strings(r.Command)
	e.time(r.Started)
	e.string(r.State)
	e.bool(r.Attached)
	e.bool(r.Detach)
	r.Status.encode(e)
}

func (r *RunInfo) decode(d *decoder) {
	r.ID = d.text()
	r.Pid = int32(d.uint(math.MaxInt32))
	r.User = d.text()
	r.Caller = d.text()
	r.Command = d.texts()
	r.Started = d.time()
	r.State = d.text()
	r.Attached = d.bool()
	r.Detach = d.bool()
	r.Status.decode(d)
}

func (e *encoder) files(l []File) {
	e.uint(uint64(len(l)))
	for _, f := range l {
		e.uint(uint64(f.Number))
		e.uint(uint64(f.Kind))
		e.uint(uint64(f.Of))
	}
}

func (d *decoder) files() []File {
	var l []File
	for range d.count() {
		l = append(l, File{
			uint16(d.uint(math.MaxUint16)), FileKind(d.uint(uint64(fileKinds - 1))), uint16(d.uint(math.MaxUint16)),
		})
	}
	return l
}

func (e *encoder) size(s Size) {
	for _, v := range [...]uint16{s.Rows, s.Columns, s.Width, s.Height} {
		e.uint(uint64(v))
	}
}

func (d *decoder) size() Size {
	n := func() uint16 { return uint16(d.uint(math.MaxUint16)) }
	return Size{Rows: n(), Columns: n(), Width: n(), Height: n()}
}

// ioHeaderSize is the size of an encoded IOHeader.
const ioHeaderSize = 18

// Encode returns the header as it travels.
func (h IOHeader) Encode() []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, ioHeaderSize), h.Token[:]...), h.Number)
}

// ParseIOHeader is the reverse of Encode.
func ParseIOHeader(b []byte) (IOHeader, error) {
	var h IOHeader
	if len(b) != ioHeaderSize {
		return h, malformed("header of a stream with %d bytes, not %d", len(b), ioHeaderSize)
	}
	copy(h.Token[:], b)
	h.Number = binary.BigEndian.Uint16(b[len(h.Token):])
	return h, nil
}
