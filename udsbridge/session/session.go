// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"
)

// Bounds of what Open takes, in bytes.
const (
	MaxService = 255
	MaxHeader  = 16 << 10
)

// Config says how a session behaves. Zero values mean the defaults.
type Config struct {
	// Name is the peer in errors and logs, such as "HOST tcp://10.0.0.1:7600".
	Name string
	// ResumeTimeout is how long a session lives without a connection. The shorter
	// one of both ends holds. Default 5 minutes.
	ResumeTimeout time.Duration
	// OpenTimeout is how long Open waits for a connection to come back before it
	// fails. Default 3 seconds.
	OpenTimeout time.Duration
	// ListenGrace is how long, from the session's beginning, streams wait for
	// somebody to listen for their service; after it, or after Ready, a stream that
	// nobody listens for is reset at once. Default 10 seconds.
	ListenGrace time.Duration
	// KeepaliveInterval is the silence after which the peer is asked for a sign of
	// life. Default 3 seconds.
	KeepaliveInterval time.Duration
	// DeadAfter is the silence after which a connection counts as lost. Default 10
	// seconds; it must exceed KeepaliveInterval.
	DeadAfter time.Duration
	// ReplayBytes bounds what is kept for sending again, in bytes. Default 4 MiB.
	ReplayBytes int
	// WindowBytes is the most a stream's peer may send ahead of its reader, in
	// bytes. A stream starts with less and grows to it as it is read. Default 1 MiB.
	WindowBytes int
	// MaxStreams is the most streams the peer may have open at once. Default 4096.
	MaxStreams int
	// Logger gets changes of the connection at debug and info level. Default: none.
	Logger *slog.Logger
}

// Session is one end of a session. Its methods may be called concurrently.
type Session struct{}

// Dial begins a session over a connection that dial makes, and returns when the
// peer has taken it. If that first connection can't be made, Dial fails at once
// with dial's error. Later connections, with which the session resumes, are made
// in the background by the same function, until the session ends; ctx is for
// Dial only.
func Dial(ctx context.Context, dial func(context.Context) (net.Conn, error), cfg Config) (*Session, error) {
	panic("session: not there yet")
}

// Acceptor is the accepting end of sessions. Its methods may be called
// concurrently.
type Acceptor struct{}

// NewAcceptor returns an acceptor whose sessions behave as cfg says.
func NewAcceptor(cfg Config) *Acceptor { panic("session: not there yet") }

// Handle takes a connection, which is the acceptor's from then on. If it begins a
// session, Handle returns that and true. If it resumes one, Handle attaches it
// and returns that session and false. Otherwise the dialling end is told why not
// and the connection is closed. Handle blocks until the peer has said which, ten
// seconds at most, or until ctx ends.
func (a *Acceptor) Handle(ctx context.Context, conn net.Conn) (s *Session, fresh bool, err error) {
	panic("session: not there yet")
}

// Open opens a stream to a service of the peer. It costs no round trip: a service
// that the peer does not offer shows when the stream is read or written. header
// reaches the service with the stream. Without a connection Open waits for one as
// long as Config.OpenTimeout and ctx allow, then fails with ErrDisconnected.
func (s *Session) Open(ctx context.Context, service string, header []byte) (*Stream, error) {
	panic("session: not there yet")
}

// Listen returns a listener for the streams that the peer opens to a service; its
// Accept returns *Stream. A service has one listener at a time: Listen replaces
// an earlier one, which then is closed. On a session that has ended, and once it
// ends, Accept fails with an error that wraps net.ErrClosed.
func (s *Session) Listen(service string) net.Listener { panic("session: not there yet") }

// Ready says that all services are listened for: from now on streams for others
// are reset at once. Without it that begins with the end of Config.ListenGrace.
func (s *Session) Ready() { panic("session: not there yet") }

// Close sends what was written, waits until the peer has it, five seconds at
// most, and ends the session on both ends. The error tells what could not be
// delivered.
func (s *Session) Close() error { panic("session: not there yet") }

// Done returns a channel that is closed when the session has ended. The loss of a
// connection does not end a session, only of the hope for another.
func (s *Session) Done() <-chan struct{} { panic("session: not there yet") }

// Err returns why the session has ended, and nil before. After Close it wraps
// ErrClosed.
func (s *Session) Err() error { panic("session: not there yet") }

// Stats returns figures about the session.
func (s *Session) Stats() Stats { panic("session: not there yet") }

// Stats are figures about a session.
type Stats struct {
	Peer      string // Config.Name
	Connected bool
	Streams   int // open now
	// Reconnects counts connections after the first.
	Reconnects uint64
	// SentBytes and ReceivedBytes count frames of all connections, replays and
	// overhead included.
	SentBytes, ReceivedBytes uint64
	// ReplayBytes is how much is kept now for sending again.
	ReplayBytes int
	// LastError is why the last connection was lost or could not be made.
	LastError string
}

// Stream is one stream of a session. It is a net.Conn, and its methods may be
// called concurrently.
//
// Read returns io.EOF after the peer's CloseWrite or Close. A stream that either
// end has reset fails with a *ResetError, one whose session ended with that
// session's error, after what had arrived has been read.
type Stream struct{}

var (
	_ net.Conn      = (*Stream)(nil)
	_ io.ReaderFrom = (*Stream)(nil)
	_ io.WriterTo   = (*Stream)(nil)
)

// Service returns the name of the service the stream was opened to.
func (st *Stream) Service() string { panic("session: not there yet") }

// Header returns the header the stream was opened with. It must not be changed.
func (st *Stream) Header() []byte { panic("session: not there yet") }

// Read reads as net.Conn describes.
func (st *Stream) Read(p []byte) (int, error) { panic("session: not there yet") }

// Write writes as net.Conn describes. It returns once p is on its way: errors of
// the link show later.
func (st *Stream) Write(p []byte) (int, error) { panic("session: not there yet") }

// ReadFrom writes what r has to the stream until r ends.
func (st *Stream) ReadFrom(r io.Reader) (int64, error) { panic("session: not there yet") }

// WriteTo writes to w what the stream has until it ends.
func (st *Stream) WriteTo(w io.Writer) (int64, error) { panic("session: not there yet") }

// CloseWrite ends the outgoing direction: the peer reads what was written, then
// io.EOF. The other direction is not touched.
func (st *Stream) CloseWrite() error { panic("session: not there yet") }

// Close ends both directions. The peer gets what was written, then io.EOF; what it
// still writes is dropped and its writes fail. Close doesn't wait.
func (st *Stream) Close() error { panic("session: not there yet") }

// Reset gives up the stream in both directions. What has not been read yet is
// lost, and the peer gets a ResetError with the text of reason, cut to 1 KiB.
func (st *Stream) Reset(reason error) { panic("session: not there yet") }

// LocalAddr returns an address that names this end of the session.
func (st *Stream) LocalAddr() net.Addr { panic("session: not there yet") }

// RemoteAddr returns an address with the peer's name.
func (st *Stream) RemoteAddr() net.Addr { panic("session: not there yet") }

// SetDeadline sets both deadlines.
func (st *Stream) SetDeadline(t time.Time) error { panic("session: not there yet") }

// SetReadDeadline sets the deadline of Read, as net.Conn describes.
func (st *Stream) SetReadDeadline(t time.Time) error { panic("session: not there yet") }

// SetWriteDeadline sets the deadline of Write, as net.Conn describes.
func (st *Stream) SetWriteDeadline(t time.Time) error { panic("session: not there yet") }
