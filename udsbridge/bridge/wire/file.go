// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "strings"

// FileKind says what a passed descriptor becomes at the receiver.
type FileKind uint8

// The kinds of passed descriptors.
const (
	// FilePipe is one end of a new pipe, whose other end the bridge has.
	FilePipe FileKind = iota + 1
	// FileSocket is one end of a new socket pair, whose other end the bridge has.
	FileSocket
	// FileTerminal is a new pseudo terminal that follows the sender's.
	FileTerminal
	// FileEvent is an eventfd; what is added at one end is read at the other.
	FileEvent
	// FilePath is the receiver's own file or directory.
	FilePath
	// FileContent is a memfd with the same content, which nobody can change.
	FileContent
	// FileServed is a file whose reads and writes go to the sender's.
	FileServed
	// FileDevice is a device that every machine has, such as /dev/null.
	FileDevice

	lastFileKind = FileDevice
)

// MaxFiles is the most descriptors in a message, which is Linux's SCM_MAX_FD.
const MaxFiles = 253

// File is one descriptor in a FrameFiles.
type File struct {
	Kind FileKind
	// Token is the stream's that carries what is read and written, unless Kind is
	// FilePath or FileDevice: the header of a stream of ServiceFile that the sender
	// has opened.
	Token uint64
	// Read and Write say what the descriptor may be used for. Append and NonBlock
	// are its flags.
	Read, Write, Append, NonBlock bool
	// Directory and PathOnly (O_PATH) are for FilePath.
	Directory, PathOnly bool
	// Semaphore is for FileEvent.
	Semaphore bool
	// Socket is for FileSocket.
	Socket SocketKind
	// Path is for FilePath and FileDevice; for FileServed and FileContent it is a
	// name for people.
	Path string
	// Offset is where a file is read or written next, Size how long it is, both in
	// bytes. For FileEvent, Offset is the count.
	Offset, Size uint64
	// Mode has the permission bits of a file.
	Mode uint32
	// Terminal is for FileTerminal.
	Terminal Terminal
}

// encode appends the descriptor.
func (f File) encode(w *writer) {
	w.number(uint64(f.Kind))
	w.number(f.Token)
	var bits uint64
	for i, b := range f.bits() {
		if *b {
			bits |= 1 << i
		}
	}
	w.number(bits)
	w.number(uint64(f.Socket))
	w.text(f.Path)
	w.number(f.Offset)
	w.number(f.Size)
	w.number(uint64(f.Mode))
	if f.Kind == FileTerminal {
		f.Terminal.encode(w)
	}
}

// bits are the flags, in the order of their bits on the wire.
func (f *File) bits() []*bool {
	return []*bool{&f.Read, &f.Write, &f.Append, &f.NonBlock, &f.Directory, &f.PathOnly, &f.Semaphore}
}

func (r *reader) file() File {
	f := File{Kind: FileKind(r.number("kind of descriptor", uint64(lastFileKind))), Token: r.number("token", 1<<63)}
	all := f.bits()
	bits := r.number("flags of descriptor", 1<<len(all)-1)
	for i, b := range all {
		*b = bits&(1<<i) != 0
	}
	f.Socket = SocketKind(r.number("kind of socket", uint64(Datagram)))
	f.Path = r.text("path", maxPath)
	f.Offset = r.number("offset", 1<<64-1)
	f.Size = r.number("size", 1<<63-1)
	f.Mode = uint32(r.number("mode", 0o7777))
	if f.Kind == FileTerminal {
		f.Terminal = r.terminal()
	}
	if r.err == nil {
		f.check(r)
	}
	return f
}

func (f File) check(r *reader) {
	byPath := f.Kind == FilePath || f.Kind == FileDevice
	switch {
	case f.Kind == 0:
		r.fail("kind of descriptor is 0")
	case byPath && (!strings.HasPrefix(f.Path, "/") || f.Path != "/" && !ValidPath(f.Path)):
		r.fail("path %q of descriptor is not clean and absolute", f.Path)
	case (f.Socket != 0) != (f.Kind == FileSocket):
		r.fail("descriptor of kind %d has kind of socket %d", f.Kind, f.Socket)
	case f.Kind == FilePipe && f.Read == f.Write:
		r.fail("end of pipe is not for either reading or writing")
	case f.Offset > 1<<63-1 && f.Kind != FileEvent:
		r.fail("offset %d is out of range", f.Offset)
	}
}

// Files is the payload of a FrameFiles.
type Files struct {
	List []File
	// Data are the bytes or the message that the descriptors came with.
	Data []byte
}

// Encode returns the payload.
func (t Files) Encode() []byte {
	var w writer
	w.number(uint64(len(t.List)))
	for _, f := range t.List {
		f.encode(&w)
	}
	w.b = append(w.b, t.Data...)
	return w.b
}

// ParseFiles parses what Encode returns. Data is a part of b.
func ParseFiles(b []byte) (Files, error) {
	r := reader{b: b}
	var t Files
	for range r.number("number of descriptors", MaxFiles) {
		if r.err != nil {
			break
		}
		t.List = append(t.List, r.file())
	}
	if r.err != nil {
		return Files{}, r.err
	}
	if len(t.List) == 0 {
		return Files{}, malformed("no descriptor")
	}
	t.Data = r.b
	return t, nil
}

// EncodeToken returns the header of a stream of ServiceFile.
func EncodeToken(token uint64) []byte {
	var w writer
	w.number(token)
	return w.b
}

// ParseToken parses what EncodeToken returns.
func ParseToken(b []byte) (uint64, error) {
	r := reader{b: b}
	token := r.number("token", 1<<63)
	return token, r.end()
}
