// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "time"

// Services that a server listens for on a session.
const (
	// ServiceControl takes one Run, Attach, List, Wait or Kill per stream.
	ServiceControl = "rexec"
	// ServiceIO takes the streams of programs; see [IOHeader].
	ServiceIO = "rexec-io"
)

// Message is one of the messages below.
type Message interface {
	kind() kind
	encode(*encoder)
	decode(*decoder)
}

// Run asks for a program to be run. It is the first message of its stream, and
// the stream belongs to the run from then on.
type Run struct {
	// Token names the run among those of the session, for its streams.
	Token Token
	// Caller says for the log who asks. The server does not act on it.
	Caller string
	// Program is a path or a name that the server looks up. Args begins with
	// the name the program is told.
	Program string
	Args    []string
	// Env has NAME=VALUE entries. Those in EnvOptional may be left out if the
	// server does not allow them; any other that is not allowed is an error.
	Env         []string
	EnvOptional []string
	// Dir is the working directory; if DirOptional, the server may choose
	// another one when it can't be had.
	Dir         string
	DirOptional bool
	// User and Group are names or numbers, empty for what the server chooses;
	// Groups, if GroupsSet, replaces the user's supplementary groups.
	User, Group string
	GroupsSet   bool
	Groups      []string
	Umask       uint16
	Rlimits     []Rlimit
	Files       []File
	// Terminal is set if a file is one.
	Terminal *Terminal
	// Detach lets the program live on without its client.
	Detach bool
	// Background begins without a client: the program's output is kept.
	Background bool
}

// Rlimit is a resource limit by name, such as "nofile". Unlimited is ^0.
type Rlimit struct {
	Name       string
	Soft, Hard uint64
}

// Unlimited is the value of a limit that does not limit.
const Unlimited = ^uint64(0)

// FileKind says what a descriptor of the program is.
type FileKind uint8

// The kinds of files.
const (
	// FileNull is /dev/null.
	FileNull FileKind = iota
	// FileIn is a pipe that the program reads.
	FileIn
	// FileOut is a pipe that the program writes.
	FileOut
	// FileBoth is a stream socket.
	FileBoth
	// FileTerminal is the run's terminal.
	FileTerminal
	// FileSame is what the descriptor Of is.
	FileSame
	fileKinds
)

// File is one descriptor of the program. The kinds In, Out and Both have a
// stream each, and so has the first of the kind Terminal.
type File struct {
	Number uint16
	Kind   FileKind
	Of     uint16 // of FileSame
}

// Terminal is how the run's terminal begins.
type Terminal struct {
	Size Size
	// Modes are termios flags and control characters by name, such as
	// "icanon" 0 or "erase" 127.
	Modes []Mode
}

// Mode is one named setting of a terminal.
type Mode struct {
	Name  string
	Value uint32
}

// Size is that of a terminal's window, in characters and pixels.
type Size struct{ Rows, Columns, Width, Height uint16 }

// Attach makes the stream that of a run which lives without a client. The
// run's descriptors are those that Started tells.
type Attach struct {
	Token Token
	ID    string
	// Size of the client's window, if it has one.
	Size *Size
}

// List asks for every run. The answer is a Listing.
type List struct{}

// Wait asks for the end of a run. The answer is Exited.
type Wait struct{ ID string }

// Kill sends a signal to a run. The answer is Done.
type Kill struct {
	ID, Signal string
}

// Signal is a signal for the program of this stream's run.
type Signal struct {
	Name string
	// Seq is told back in Done.
	Seq uint32
}

// Resize is the new size of the client's window.
type Resize struct{ Size Size }

// Leave ends the client's part in a run that was started with Detach.
type Leave struct{}

// Started says that the program runs. Files are those of the run.
type Started struct {
	ID    string
	Pid   int32
	Files []File
}

// Stopped says that the program was stopped by a signal.
type Stopped struct{ Signal string }

// Continued says that the program goes on.
type Continued struct{}

// Exited says how the program ended: by Signal, or if that is empty with Code.
type Exited struct {
	Code   uint8
	Signal string
	Core   bool
}

// Done says that a Kill or the Signal of that number was carried out.
type Done struct{ Seq uint32 }

// Failed ends a stream: what was asked for could not be done.
type Failed struct {
	Reason Reason
	// Text is a sentence without the beginning that the client knows.
	Text string
}

// Reason is the kind of a failure, from which follows a client's exit status.
type Reason uint8

// The kinds of failures.
const (
	ReasonInternal Reason = iota
	ReasonDenied
	ReasonNotFound
	ReasonNotExecutable
	ReasonBusy
	ReasonInvalid
	reasons
)

// Listing is every run the server knows.
type Listing struct{ Runs []RunInfo }

// RunInfo describes a run.
type RunInfo struct {
	ID      string
	Pid     int32
	User    string
	Caller  string
	Command []string
	Started time.Time
	// State is "running", "stopped" or "ended".
	State    string
	Attached bool
	Detach   bool
	// Status is how it ended, if State is "ended".
	Status Exited
}

// Token is a number nobody else knows, by which streams find their run.
type Token [16]byte

// IOHeader is the header of a stream of ServiceIO.
type IOHeader struct {
	Token  Token
	Number uint16 // of the File
}
