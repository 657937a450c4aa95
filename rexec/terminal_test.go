// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package rexec_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// screen is a terminal with what was written to it.
type screen struct {
	t   *testing.T
	pty *os.File

	mu   sync.Mutex
	text bytes.Buffer
}

// onTerminal starts a command on a terminal of its own.
func onTerminal(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 90})
	require.NoError(t, err)
	s := &screen{t: t, pty: f}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := f.Read(b)
			s.mu.Lock()
			s.text.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		f.Close()
		<-done
		if t.Failed() {
			t.Logf("screen: %q", s.String())
		}
	})
	return s
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// see waits until the screen has a text, and forgets what is before its end.
func (s *screen) see(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := strings.Index(s.text.String(), text)
		if i >= 0 {
			s.text.Next(i + len(text))
		}
		return i >= 0
	}, time.Minute, 5*time.Millisecond, "no %q", text)
}

func (s *screen) press(keys string) {
	s.t.Helper()
	_, err := s.pty.WriteString(keys)
	require.NoError(s.t, err)
}

func TestTerminal(t *testing.T) {
	r := newRig(t, everything)
	cmd := r.command("bash", "-c", "tty; stty size; trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done")
	s := onTerminal(t, cmd)
	s.see("/dev/pts/")
	s.see("30 90\r\n")
	s.see("ready\r\n")
	require.NoError(t, pty.Setsize(s.pty, &pty.Winsize{Rows: 11, Cols: 77}))
	s.see("11 77\r\n")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	// A shell that is interrupted just as its child ends by itself goes on.
	for over := false; !over; {
		_, _ = s.pty.WriteString("\x03")
		select {
		case <-ended:
			over = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	assert.Equal(t, syscall.SIGINT, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

func TestTerminalIsRestored(t *testing.T) {
	r := newRig(t, everything)
	master, slave, err := pty.Open()
	require.NoError(t, err)
	defer master.Close()
	defer slave.Close()
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	require.NoError(t, err)
	cmd := r.command("sh", "-c", "echo ready; read x; exit 4")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	r.await("the terminal to pass on keys", func() bool {
		now, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		return err == nil && now.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0
	})
	_, err = master.WriteString("x\r")
	require.NoError(t, err)
	assert.Equal(t, 4, status(t, cmd.Wait()).ExitStatus())
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestJobControl(t *testing.T) {
	r := newRig(t, everything)
	shell := exec.Command("bash", "--norc", "-i")
	shell.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client, "PS1=prompt> ", "HISTFILE=")
	s := onTerminal(t, shell)
	s.see("prompt> ")
	s.press(program + " sh -c 'echo begun; read line; echo read $line; exit 9'\r")
	s.see("begun\r\n")
	s.press("\x1a")
	s.see("Stopped")
	s.see("prompt> ")
	s.press("echo a$((1+1))b\r")
	s.see("a2b\r\n")
	s.press("fg\r")
	s.see("sh -c")
	s.press("hello\r")
	s.see("read hello\r\n")
	s.see("prompt> ")
	s.press("echo status=$?\r")
	s.see("status=9\r\n")
	s.press(program + " sleep 1000\r")
	s.see("sleep 1000\r\n")
	r.await("the program", func() bool { return strings.Contains(r.must("ps"), "sleep 1000") })
	s.press("\x03")
	s.see("prompt> ")
	s.press("echo status=$?\r")
	s.see("status=130\r\n")
	s.press("exit\r")
	require.NoError(t, shell.Wait())
}

// TestRemoteShell has the job control done on the other side.
func TestRemoteShell(t *testing.T) {
	r := newRig(t, everything)
	cmd := r.command("-e", "PS1=there> ", "-e", "HISTFILE=", "bash", "--norc", "-i")
	s := onTerminal(t, cmd)
	s.see("there> ")
	s.press("sleep 1000\r")
	s.see("sleep 1000\r\n")
	time.Sleep(100 * time.Millisecond)
	s.press("\x1a")
	s.see("Stopped")
	s.press("kill %1; jobs; echo a$((1+2))b\r")
	s.see("a3b\r\n")
	s.press("exit 6\r")
	assert.Equal(t, 6, status(t, cmd.Wait()).ExitStatus())
}

func TestBackgroundJobMayWrite(t *testing.T) {
	r := newRig(t, everything)
	shell := exec.Command("bash", "--norc", "-i")
	shell.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client, "PS1=prompt> ", "HISTFILE=")
	s := onTerminal(t, shell)
	s.see("prompt> ")
	s.press(program + " sh -c 'sleep 0.3; echo late; exit 2' & wait $!; echo status=$?\r")
	s.see("late")
	s.see("status=2\r\n")
	s.press("exit\r")
	require.NoError(t, shell.Wait())
}

func TestStopWithoutTerminal(t *testing.T) {
	r := newRig(t, everything)
	// A shell that is in vfork(2) when its child is stopped never stops itself, so this one starts nothing.
	cmd := r.command("sh", "-c", "echo ready; exec sleep 1000")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 6))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTSTP))
	var ws syscall.WaitStatus
	_, err = syscall.Wait4(cmd.Process.Pid, &ws, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, ws.Stopped())
	assert.Contains(t, r.must("ps"), "stopped")
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	r.await("the program to go on", func() bool { return strings.Contains(r.must("ps"), "running") })
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	assert.Equal(t, syscall.SIGTERM, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

// TestFullScreen has a pager draw on a terminal of tmux.
func TestFullScreen(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed")
	}
	r := newRig(t, everything)
	socket := t.TempDir() + "/tmux"
	tmux := func(args ...string) string {
		cmd := exec.Command("tmux", append([]string{"-S", socket, "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "REXEC_CONNECT=unix://"+r.client, "TERM=xterm")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	seen := func(text string) func() bool {
		return func() bool { return strings.Contains(tmux("capture-pane", "-p"), text) }
	}
	tmux("new-session", "-d", "-x", "80", "-y", "20", "sh")
	defer tmux("kill-server")
	defer func() {
		if t.Failed() {
			t.Log(tmux("capture-pane", "-p"))
		}
	}()
	tmux("send-keys", "seq 1000 > "+r.dir+"/lines; "+program+" -e LESS= less "+r.dir+"/lines", "Enter")
	r.await("the pager", seen("\n19\n"))
	tmux("send-keys", "G")
	r.await("the last page", seen("\n1000\n"))
	tmux("resize-window", "-x", "60", "-y", "10")
	// The pager may draw the page before it hears of the new size.
	r.await("a smaller page", func() bool {
		tmux("send-keys", "g")
		return seen("\n9\n")() && !seen("\n10\n")()
	})
	tmux("send-keys", "q")
	r.await("the end of the pager", func() bool { return !strings.Contains(r.must("ps"), "less") })
	// What is typed before the client has ended goes to the other side.
	r.await("the shell in the foreground", func() bool {
		return tmux("display-message", "-p", "#{pane_current_command}") == "sh\n"
	})
	tmux("send-keys", "echo it is o'v'er", "Enter")
	r.await("the shell", seen("it is over"))
}
