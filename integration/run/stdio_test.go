// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

// pattern is an endless text that a container can make too: `yes` with the same words.
type pattern struct{ at int }

const patternLine = "all that is written must arrive, once and in order\n"

func (p *pattern) Read(buffer []byte) (int, error) {
	for rest := buffer; len(rest) > 0; {
		n := copy(rest, patternText[p.at:])
		rest, p.at = rest[n:], (p.at+n)%len(patternText)
	}
	return len(buffer), nil
}

// patternText is the line often enough for large copies.
var patternText = strings.Repeat(patternLine, 4096)

// patternSums are the sums of the text's beginnings, which take a while to make.
var patternSums = map[int64]string{}

func patternSum(t *testing.T, size int64) string {
	t.Helper()
	if sum, ok := patternSums[size]; ok {
		return sum
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, &pattern{}, size); err != nil {
		t.Fatal(err)
	}
	patternSums[size] = hex.EncodeToString(sum.Sum(nil))
	return patternSums[size]
}

// counted sums and counts what is written to it.
type counted struct {
	hash.Hash
	size int64
}

func (c *counted) Write(data []byte) (int, error) {
	c.size += int64(len(data))
	return c.Hash.Write(data)
}

// TestStdout holds that a container's output arrives whole.
func TestStdout(t *testing.T) {
	leavesNothing(t)
	for _, c := range []struct {
		name string
		size int64
	}{{"1 MiB", 1 << 20}, {"1 GiB", 1 << 30}} {
		script := fmt.Sprintf("yes '%s' | head -c %d", strings.TrimSpace(patternLine), c.size)
		for client, argv := range map[string][]string{
			"docker": {"docker", "run", "--rm", "--log-driver", "none", image("busybox"), "sh", "-c", script},
			"ctr":    ctrRun("--rm", image("busybox"), "stdout", "sh", "-c", script),
		} {
			t.Run(client+"/"+c.name, func(t *testing.T) {
				if testing.Short() && c.size > 1<<20 {
					t.Skip("short")
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				got := &counted{Hash: sha256.New()}
				var errs bytes.Buffer
				command := shared.DPU.Command(ctx, argv...)
				command.Stdout, command.Stderr = got, &errs
				if err := command.Run(); err != nil {
					t.Fatalf("%v after %d bytes: %s", err, got.size, errs.String())
				}
				if sum := hex.EncodeToString(got.Sum(nil)); got.size != c.size || sum != patternSum(t, c.size) {
					t.Errorf("%d bytes with sum %s, not %d with %s", got.size, sum, c.size, patternSum(t, c.size))
				}
			})
		}
	}
}

// TestStdin holds that what is piped into a container arrives, comes back, and ends.
func TestStdin(t *testing.T) {
	leavesNothing(t)
	const size = 64 << 20
	for client, argv := range map[string][]string{
		"docker": {"docker", "run", "--rm", "-i", "--log-driver", "none", image("busybox"), "cat"},
		"ctr":    ctrRun("--rm", image("busybox"), "stdin", "cat"),
	} {
		t.Run(client, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			got := &counted{Hash: sha256.New()}
			var errs bytes.Buffer
			command := shared.DPU.Command(ctx, argv...)
			command.Stdin, command.Stdout, command.Stderr = io.LimitReader(&pattern{}, size), got, &errs
			if err := command.Run(); err != nil {
				t.Fatalf("%v after %d bytes: %s", err, got.size, errs.String())
			}
			if sum := hex.EncodeToString(got.Sum(nil)); got.size != size || sum != patternSum(t, size) {
				t.Errorf("%d bytes with sum %s, not %d with %s", got.size, sum, size, patternSum(t, size))
			}
		})
	}
}

// TestLargeStdin holds that as much can be piped into a container as out of it, and that the container sees its end.
func TestLargeStdin(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	leavesNothing(t)
	const size = 1 << 30
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := shared.DPU.Command(ctx, "docker", "run", "--rm", "-i", image("busybox"), "sh", "-c",
		"sha256sum; echo the end")
	command.Stdin = io.LimitReader(&pattern{}, size)
	out, err := command.Output()
	if want := patternSum(t, size) + "  -\nthe end\n"; err != nil || string(out) != want {
		t.Errorf("%q, not %q: %v", out, want, err)
	}
}

// TestClosedStdin holds that a container which is given no input, or stops being given any, is told.
func TestClosedStdin(t *testing.T) {
	leavesNothing(t)
	if out := docker(t, "run", "--rm", image("busybox"), "sh", "-c", "cat; echo no input"); out != "no input" {
		t.Errorf("without -i: %q", out)
	}
	if out := must(t, "sh", "-c", "docker run --rm -i "+image("busybox")+" sh -c 'cat; echo ended' < /dev/null"); out != "ended" {
		t.Errorf("from an empty file: %q", out)
	}
	id := start(t, image("busybox"), "sleep", "1000")
	for _, args := range [][]string{{"exec", "-i", id, "cat"}, {"exec", "-i", id, "sh", "-c", "read word; echo $word"}} {
		if r := tryIn(t, shared.DPU, "piped\n", append([]string{"docker"}, args...)...); r.code != 0 || r.stdout != "piped\n" {
			t.Errorf("%v: exit status %d and %q: %s", args, r.code, r.stdout, r.stderr)
		}
	}
}

// TestStderr holds that the two outputs are told apart.
func TestStderr(t *testing.T) {
	leavesNothing(t)
	for client, argv := range map[string][]string{
		"docker": {"docker", "run", "--rm", image("busybox")},
		"ctr":    ctrRun("--rm", image("busybox"), "stderr"),
	} {
		t.Run(client, func(t *testing.T) {
			r := try(t, append(argv, "sh", "-c", "echo out; echo err >&2")...)
			if r.code != 0 || r.stdout != "out\n" || !strings.HasSuffix(r.stderr, "err\n") || strings.Contains(r.stderr, "out") {
				t.Errorf("exit status %d, output %q, errors %q", r.code, r.stdout, r.stderr)
			}
		})
	}
}

// screen is what a terminal has shown so far.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *screen) shows(text string) func() error {
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !strings.Contains(s.text.String(), text) {
			return fmt.Errorf("no %q on the terminal: %q", text, s.text.String())
		}
		return nil
	}
}

// terminal is a command that has a terminal to itself, as a user's does.
type terminal struct {
	*screen
	keys    io.Writer
	resize  func(rows, columns uint16)
	ended   <-chan error
	command *lab.Cmd
}

func onTerminal(t *testing.T, argv ...string) *terminal {
	t.Helper()
	command := shared.DPU.Command(t.Context(), argv...)
	master, err := command.StartTTY()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	term := &terminal{screen: &screen{}, keys: master, ended: ended, command: command}
	term.resize = func(rows, columns uint16) {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
			t.Error(err)
		}
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(term, master)
	}()
	go func() {
		err := command.Wait()
		<-shown
		ended <- err
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-shown
		master.Close()
	})
	return term
}

func (term *terminal) types(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(term.keys, keys); err != nil {
		t.Fatal(err)
	}
}

// exits waits for the command's end.
func (term *terminal) exits(t *testing.T, code int) {
	t.Helper()
	select {
	case err := <-term.ended:
		if lab.ExitCode(err) != code {
			t.Errorf("exit status %d, not %d: %q", lab.ExitCode(err), code, term.text.String())
		}
	case <-time.After(patience):
		t.Fatalf("did not end: %v", term.shows("\x00")())
	}
}

// interruptsAndEnds holds that a program of the shell on the terminal is interrupted by Ctrl-C, and the shell's status
// is that of the client.
func (term *terminal) interruptsAndEnds(t *testing.T) {
	t.Helper()
	// The words are computed, because the terminal shows what is typed too.
	term.types(t, "sh -c 'trap \"echo caught-$((20+2)); exit\" INT; echo waiting-$((20+1)); while :; do sleep 0.05; done'\n")
	eventually(t, "waits", term.shows("waiting-21"))
	term.types(t, "\x03")
	eventually(t, "Ctrl-C", term.shows("caught-22"))
	term.types(t, "exit 5\n")
	term.exits(t, 5)
}

// TestTerminal holds that a container on a terminal behaves as a shell does: it has one, knows its size and the
// changes of it, is interrupted by Ctrl-C, and ends with its status.
func TestTerminal(t *testing.T) {
	leavesNothing(t)
	id := start(t, image("busybox"), "sleep", "1000")
	for client, argv := range map[string][]string{
		"docker run":  {"docker", "run", "--rm", "-it", image("busybox"), "sh"},
		"docker exec": {"docker", "exec", "-it", id, "sh"},
		"ctr run":     ctrRun("--rm", "-t", image("busybox"), "terminal", "sh"),
	} {
		t.Run(client, func(t *testing.T) {
			if client == "ctr run" {
				t.Cleanup(func() { removeCtr(t, "terminal") })
			}
			term := onTerminal(t, argv...)
			term.resize(33, 77)
			eventually(t, "prompt", term.shows("# "))
			term.types(t, "tty; echo is-a-tty=$?\n")
			eventually(t, "terminal", term.shows("is-a-tty=0"))
			term.resize(44, 123)
			eventually(t, "new size", func() error {
				term.types(t, "stty size\n")
				return term.shows("44 123")()
			})
			term.interruptsAndEnds(t)
		})
	}
}

// TestSlowReader holds that a client which does not read stops its container and no other one, and loses nothing.
func TestSlowReader(t *testing.T) {
	leavesNothing(t)
	const size = 8 << 20
	script := fmt.Sprintf("yes '%s' | head -c %d", strings.TrimSpace(patternLine), size)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reader, writer := io.Pipe()
	command := shared.DPU.Command(ctx, "docker", "run", "--rm", "--log-driver", "none", image("busybox"), "sh", "-c", script)
	command.Stdout = writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- command.Wait()
		writer.Close()
	}()
	first := make([]byte, 10)
	if _, err := io.ReadFull(reader, first); err != nil {
		t.Fatal(err)
	}
	if out := docker(t, "run", "--rm", image("busybox"), "echo", "not held up"); out != "not held up" {
		t.Errorf("another container printed %q", out)
	}
	got := &counted{Hash: sha256.New()}
	_, _ = got.Write(first)
	if _, err := io.Copy(got, reader); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || got.size != size || hex.EncodeToString(got.Sum(nil)) != patternSum(t, size) {
		t.Errorf("%d of %d bytes, or wrong ones: %v", got.size, size, err)
	}
}
