// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Guest is the way into a running machine. Its methods may be called by several goroutines at once; all share one
// connection, which is made anew when the machine has been restarted.
type Guest struct {
	name    string
	socket  string // of this machine, which leads to the guest's ssh daemon
	hostKey ssh.PublicKey
	config  ssh.ClientConfig

	mu     sync.Mutex
	client *ssh.Client
}

// patience is how long the guest's ssh daemon may take for its side of the greeting, on an emulated and busy processor.
const patience = 2 * time.Minute

// newGuest prepares a way in that lets only the holder of the key in, and believes only the daemon with the host key.
func newGuest(name, socket string, key ssh.Signer, hostKey ssh.PublicKey) *Guest {
	return &Guest{name: name, socket: socket, hostKey: hostKey, config: ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(hostKey),
		HostKeyAlgorithms: []string{hostKey.Type()}, Timeout: patience,
	}}
}

// connection returns the connection, having made it if there is none.
func (g *Guest) connection(ctx context.Context) (*ssh.Client, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		return g.client, nil
	}
	client, err := g.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", g.name, err)
	}
	g.client = client
	go func() {
		_ = client.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.client == client {
			g.client = nil
		}
	}()
	return client, nil
}

func (g *Guest) dial(ctx context.Context) (*ssh.Client, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "unix", g.socket)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		conn.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	session, channels, requests, err := ssh.NewClientConn(conn, g.name, &g.config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(session, channels, requests), conn.SetDeadline(time.Time{})
}

// disconnect drops the connection, if there is one, with everything that runs over it.
func (g *Guest) disconnect() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		_ = g.client.Close()
		g.client = nil
	}
}

// Streams are a command's standard streams. What is nil is empty or thrown away.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs a command as root in root's home, waits for it and returns its exit status, or 128 and the signal's number
// if it was killed by one. The error is for a command that could not be run. When ctx ends the command is killed.
func (g *Guest) Run(ctx context.Context, streams Streams, argv ...string) (int, error) {
	client, err := g.connection(ctx)
	if err != nil {
		return -1, err
	}
	session, err := client.NewSession()
	if err != nil {
		return -1, fmt.Errorf("run %s on %s: %w", argv[0], g.name, err)
	}
	defer session.Close()
	session.Stdin, session.Stdout, session.Stderr = streams.In, streams.Out, streams.Err
	stop := context.AfterFunc(ctx, func() {
		_ = session.Signal(ssh.SIGKILL)
		_ = session.Close()
	})
	defer stop()
	err = session.Run(commandLine(argv))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return 0, nil
	case ctx.Err() != nil:
		return -1, fmt.Errorf("run %s on %s: %w", strings.Join(argv, " "), g.name, ctx.Err())
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	default:
		return -1, fmt.Errorf("run %s on %s: %w", strings.Join(argv, " "), g.name, err)
	}
}

// commandLine quotes a command for the shell that the ssh daemon hands it to.
func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

// Size is a terminal's, in characters.
type Size struct{ Rows, Columns int }

// Terminal runs a command, or a login shell for none, on a terminal of the guest, and returns its exit status. Sizes
// are the terminal's, each from when it is sent on; the first is awaited.
func (g *Guest) Terminal(ctx context.Context, streams Streams, kind string, sizes <-chan Size, argv ...string) (int, error) {
	client, err := g.connection(ctx)
	if err != nil {
		return -1, err
	}
	session, err := client.NewSession()
	if err != nil {
		return -1, fmt.Errorf("open a terminal on %s: %w", g.name, err)
	}
	defer session.Close()
	session.Stdin, session.Stdout, session.Stderr = streams.In, streams.Out, streams.Err
	size := <-sizes
	if err := session.RequestPty(kind, size.Rows, size.Columns, ssh.TerminalModes{}); err != nil {
		return -1, fmt.Errorf("open a terminal on %s: %w", g.name, err)
	}
	if len(argv) == 0 {
		err = session.Shell()
	} else {
		err = session.Start(commandLine(argv))
	}
	if err != nil {
		return -1, fmt.Errorf("open a terminal on %s: %w", g.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Wait() }()
	for {
		select {
		case size := <-sizes:
			_ = session.WindowChange(size.Rows, size.Columns)
		case err := <-ended:
			var exit *ssh.ExitError
			if errors.As(err, &exit) {
				return exit.ExitStatus(), nil
			}
			return 0, err
		}
	}
}

// Result is what a command that has ended left.
type Result struct {
	Out, Err string
	Code     int
}

// All is all that the command printed.
func (r Result) All() string { return r.Out + r.Err }

// Try runs a command and returns whatever comes of it. The error is for a command that could not be run.
func (g *Guest) Try(ctx context.Context, argv ...string) (Result, error) {
	var out, errs bytes.Buffer
	code, err := g.Run(ctx, Streams{Out: &out, Err: &errs}, argv...)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, tail(append(out.Bytes(), errs.Bytes()...)))
	}
	return Result{Out: out.String(), Err: errs.String(), Code: code}, err
}

// Output runs a command that has to succeed and returns what it wrote to its standard output, without the last end
// of line.
func (g *Guest) Output(ctx context.Context, argv ...string) (string, error) {
	r, err := g.Try(ctx, argv...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s on %s: exit status %d: %s", strings.Join(argv, " "), g.name, r.Code, tail([]byte(r.All())))
	}
	return strings.TrimSuffix(r.Out, "\n"), err
}

// Shell is Output of a shell script.
func (g *Guest) Shell(ctx context.Context, script string) (string, error) {
	return g.Output(ctx, "sh", "-c", script)
}

// WriteFile writes a file in the guest and makes the directories that lack.
func (g *Guest) WriteFile(ctx context.Context, path string, content io.Reader, mode uint32) error {
	var errs bytes.Buffer
	code, err := g.Run(ctx, Streams{In: content, Err: &errs}, "sh", "-ec",
		`mkdir -p "$(dirname "$1")"; cat >"$1.new"; chmod "$2" "$1.new"; mv "$1.new" "$1"`,
		"sh", path, fmt.Sprintf("%o", mode))
	if err == nil && code != 0 {
		err = errors.New(tail(errs.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write %s on %s: %w", path, g.name, err)
	}
	return nil
}

// ReadFile writes the content of a file in the guest to w.
func (g *Guest) ReadFile(ctx context.Context, path string, w io.Writer) error {
	var errs bytes.Buffer
	code, err := g.Run(ctx, Streams{Out: w, Err: &errs}, "cat", path)
	if err == nil && code != 0 {
		err = errors.New(tail(errs.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("read %s on %s: %w", path, g.name, err)
	}
	return nil
}

// Listen listens on a TCP address of the guest. The listener ends with the connection.
func (g *Guest) Listen(ctx context.Context, address string) (net.Listener, error) {
	client, err := g.connection(ctx)
	if err != nil {
		return nil, err
	}
	l, err := client.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s of %s: %w", address, g.name, err)
	}
	return l, nil
}

// Dial connects to a TCP address from within the guest.
func (g *Guest) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	client, err := g.connection(ctx)
	if err != nil {
		return nil, err
	}
	return client.DialContext(ctx, network, address)
}

// Name is the machine's name: host or dpu.
func (g *Guest) Name() string { return g.name }
