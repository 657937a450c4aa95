// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/container-offload/offload/integration/bench"
)

// way is one way to the server.
type way struct {
	name          string
	slow          bool
	network, addr string
}

func (w way) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, w.network, w.addr)
}

// lab has a server, the programs that lead to it, and what ends all of them.
type lab struct {
	dir     string
	ways    []way
	bridges [2]*exec.Cmd // serving, connecting; without a delay
	undo    []func()
}

func (l *lab) close() {
	for i := len(l.undo) - 1; i >= 0; i-- {
		l.undo[i]()
	}
}

func newLab(ctx context.Context, dir string, o options) (_ *lab, err error) {
	l := &lab{dir: dir}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	server := filepath.Join(dir, "there", "s")
	if err := os.Mkdir(filepath.Dir(server), 0o755); err != nil {
		return nil, err
	}
	// The server is a process of its own: with both ends of 10,000 connections, one
	// process has more files open than many systems allow.
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if _, err := l.start(ctx, self, "--serve", server); err != nil {
		return nil, err
	}
	if err := bench.AwaitServer("unix", server); err != nil {
		return nil, err
	}
	tcp, err := l.listen("tcp", "127.0.0.1:0", serve)
	if err != nil {
		return nil, err
	}
	l.ways = append(l.ways, way{unixName, false, "unix", server})
	for _, slow := range []bool{false, true} {
		through := func(addr string) (string, error) {
			if !slow {
				return addr, nil
			}
			return l.listen("tcp", "127.0.0.1:0", func(c net.Conn) { delayed(c, addr, o.delay) })
		}
		if err := l.join(ctx, o.binary, server, tcp, slow, through); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// join adds the ways over one link.
func (l *lab) join(ctx context.Context, binary, server, tcp string, slow bool, through func(string) (string, error)) error {
	raw, err := through(tcp)
	if err != nil {
		return err
	}
	l.ways = append(l.ways, way{tcpName, slow, "tcp", raw})
	for name, add := range map[string]func(context.Context, string, string, string, func(string) (string, error)) (string, error){
		ourName: l.udsbridge, socatName: l.socat, sshName: l.ssh,
	} {
		dir := filepath.Join(l.dir, fmt.Sprintf("%s%t", strings.Fields(name)[0], slow))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		path, err := add(ctx, binary, dir, server, through)
		if errors.Is(err, exec.ErrNotFound) {
			fmt.Fprintf(os.Stderr, "bench-bridge: without %s: %v\n", name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		l.ways = append(l.ways, way{name, slow, "unix", path})
	}
	return nil
}

func (l *lab) find(name string, slow bool) way {
	for _, w := range l.ways {
		if w.name == name && w.slow == slow {
			return w
		}
	}
	return way{}
}

// udsbridge starts both sides of the bridge.
func (l *lab) udsbridge(ctx context.Context, binary, dir, server string, through func(string) (string, error)) (string, error) {
	addr := bench.FreePort()
	serving, err := l.start(ctx, binary, "tcp://"+addr, "-", "--serve", filepath.Dir(server), "--insecure", "--runtime", filepath.Join(dir, "r1"))
	if err != nil {
		return "", err
	}
	if err := bench.AwaitServer("tcp", addr); err != nil {
		return "", err
	}
	peer, err := through(addr)
	if err != nil {
		return "", err
	}
	here := filepath.Join(dir, "here")
	connecting, err := l.start(ctx, binary, "-", "tcp://"+peer, "--allow", here+"="+filepath.Dir(server), "--insecure", "--runtime", filepath.Join(dir, "r2"))
	if err != nil {
		return "", err
	}
	if l.bridges[0] == nil {
		l.bridges = [2]*exec.Cmd{serving, connecting}
	}
	path := filepath.Join(here, "s")
	return path, bench.AwaitServer("unix", path)
}

// socat starts a socat on each side.
func (l *lab) socat(ctx context.Context, _, dir, server string, through func(string) (string, error)) (string, error) {
	addr := bench.FreePort()
	_, port, _ := net.SplitHostPort(addr)
	if _, err := l.start(ctx, "socat", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork,nodelay", "UNIX-CONNECT:"+server); err != nil {
		return "", err
	}
	if err := bench.AwaitServer("tcp", addr); err != nil {
		return "", err
	}
	peer, err := through(addr)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "s")
	if _, err := l.start(ctx, "socat", "UNIX-LISTEN:"+path+",fork", "TCP:"+peer+",nodelay"); err != nil {
		return "", err
	}
	return path, bench.AwaitServer("unix", path)
}

// ssh starts a server and a client with keys of their own.
func (l *lab) ssh(ctx context.Context, _, dir, server string, through func(string) (string, error)) (string, error) {
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
			return "", exec.ErrNotFound
		}
		sshd = "/usr/sbin/sshd"
	}
	for _, key := range []string{"host", "user"} {
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return "", err
	}
	addr := bench.FreePort()
	_, port, _ := net.SplitHostPort(addr)
	config := fmt.Sprintf("ListenAddress 127.0.0.1\nPort %s\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nMaxSessions 100\nMaxStartups 100\n", port, dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600); err != nil {
		return "", err
	}
	if _, err := l.start(ctx, sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config")); err != nil {
		return "", err
	}
	if err := bench.AwaitServer("tcp", addr); err != nil {
		return "", err
	}
	peer, err := through(addr)
	if err != nil {
		return "", err
	}
	_, port, _ = net.SplitHostPort(peer)
	path := filepath.Join(dir, "s")
	if _, err := l.start(ctx, "ssh", "-F", "none", "-N", "-i", filepath.Join(dir, "user"), "-p", port, "-L", path+":"+server,
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "root@127.0.0.1"); err != nil {
		return "", err
	}
	return path, bench.AwaitServer("unix", path)
}

// start starts a program that ends with the lab.
func (l *lab) start(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l.undo = append(l.undo, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		ended := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		ended.Stop()
		if os.Getenv("BENCH_VERBOSE") != "" {
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, said.String())
		}
	})
	return cmd, nil
}

// serveAlone serves on a unix socket until ctx ends.
func serveAlone(ctx context.Context, path string) error {
	l := &lab{}
	defer l.close()
	if _, err := l.listen("unix", path, serve); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// listen serves every connection with handle and returns the address.
func (l *lab) listen(network, addr string, handle func(net.Conn)) (string, error) {
	nl, err := net.Listen(network, addr)
	if err != nil {
		return "", err
	}
	l.undo = append(l.undo, func() { nl.Close() })
	go func() {
		for {
			c, err := nl.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return nl.Addr().String(), nil
}

// userMemory returns a process' own memory, in bytes: what is its alone and not a
// file's.
func userMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// delayed relays between c and addr so that all arrives later.
func delayed(c net.Conn, addr string, delay time.Duration) {
	defer c.Close()
	d, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer d.Close()
	done := make(chan struct{}, 2)
	for _, p := range [][2]net.Conn{{c, d}, {d, c}} {
		go func() {
			carry(p[0], p[1], delay)
			done <- struct{}{}
		}()
	}
	<-done
}

type chunk struct {
	due  time.Time
	data []byte
}

func carry(from, to net.Conn, delay time.Duration) {
	chunks := make(chan chunk, 1024)
	go func() {
		defer close(chunks)
		for {
			buf := make([]byte, 64<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			chunks <- chunk{time.Now().Add(delay), buf[:n]}
		}
	}()
	for k := range chunks {
		time.Sleep(time.Until(k.due))
		if _, err := to.Write(k.data); err != nil {
			return
		}
	}
}
