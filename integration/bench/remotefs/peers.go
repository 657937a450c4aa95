// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/remotefs/client"
	"github.com/container-offload/offload/remotefs/server"
)

// The peers.
const (
	ours     = "remotefs"
	native   = "native"
	loopback = "go-fuse loopback"
	sshfs    = "sshfs"
)

var peers = []string{ours, native, loopback, sshfs}

// cacheTime is how long each mount believes names and attributes: sshfs's default.
const cacheTime = 20 * time.Second

// process is a running peer.
type process struct {
	cmd *exec.Cmd
	// line is the first it printed.
	line string
}

// start runs this program in a role and waits until it says that it is ready.
func start(role, arg string) (*process, error) {
	cmd := exec.Command("/proc/self/exe", "--role", role, arg)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p := &process{cmd: cmd}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p.line = line[:len(line)-1]
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// mount shows data on mountpoint by way of a peer.
func mount(peer, data, mountpoint string) (stop func(), err error) {
	unmount := func() { _ = unix.Unmount(mountpoint, unix.MNT_DETACH) }
	switch peer {
	case ours, sshfs:
		s, err := start("serve "+peer, data)
		if err != nil {
			return nil, err
		}
		m, err := start("mount "+peer, s.line+" "+mountpoint)
		if err != nil {
			s.stop()
			return nil, err
		}
		return func() { unmount(); m.stop(); s.stop() }, nil
	case loopback:
		m, err := start("mount "+peer, data+" "+mountpoint)
		if err != nil {
			return nil, err
		}
		return func() { unmount(); m.stop() }, nil
	}
	if err := unix.Mount(data, mountpoint, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("bind %s: %w", data, err)
	}
	return unmount, nil
}

// play is what a process of a peer does. It does not return before its end.
func play(role, arg string) error {
	var a, b string
	_, _ = fmt.Sscan(arg, &a, &b)
	switch role {
	case "serve " + ours:
		return serveOurs(arg)
	case "serve " + sshfs:
		return listen(func(c *net.TCPConn) { _ = serveSFTP(c, arg) })
	case "mount " + ours:
		return mountOurs(a, b)
	case "mount " + sshfs:
		return mountSSHFS(a, b)
	case "mount " + loopback:
		return mountLoopback(a, b)
	case "sink":
		return listen(func(c *net.TCPConn) {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 1<<20))
			_, _ = c.Write([]byte{1})
			c.Close()
		})
	}
	return fmt.Errorf("no role %q", role)
}

// listen prints an address and gives its connections to serve.
func listen(serve func(*net.TCPConn)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(c.(*net.TCPConn))
	}
}

func serveOurs(dir string) error {
	s := server.New(server.Options{})
	if err := s.Add(server.Export{Name: "data", Path: dir, CrossMounts: true}); err != nil {
		return err
	}
	return listen(func(c *net.TCPConn) { _ = s.Serve(context.Background(), c) })
}

func mountOurs(addr, mountpoint string) error {
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	m, err := client.Mount(context.Background(), dial, mountpoint, client.Options{
		Source: "host:/data", Export: "data", AttrTimeout: cacheTime, EntryTimeout: cacheTime,
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-m.Done()
	return m.Err()
}

func mountLoopback(dir, mountpoint string) error {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return err
	}
	cacheTime := cacheTime
	s, err := fs.Mount(mountpoint, root, &fs.Options{
		AttrTimeout: &cacheTime, EntryTimeout: &cacheTime,
		MountOptions: fuse.MountOptions{AllowOther: true, DirectMountStrict: true, MaxWrite: 1 << 20, EnableLocks: true},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	s.Wait()
	return nil
}

func serveSFTP(c *net.TCPConn, dir string) error {
	f, err := c.File()
	if err != nil {
		return err
	}
	c.Close()
	defer f.Close()
	cmd := exec.Command("/usr/lib/openssh/sftp-server", "-d", dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, os.Stderr
	return cmd.Run()
}

func mountSSHFS(addr, mountpoint string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	cmd := exec.Command("sshfs", "-f", "-o", "directport="+port, "127.0.0.1:", mountpoint)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	var before unix.Stat_t
	if err := unix.Stat(mountpoint+"/..", &before); err != nil {
		return err
	}
	for range 1000 {
		var st unix.Stat_t
		if unix.Stat(mountpoint, &st) == nil && st.Dev != before.Dev {
			fmt.Println("ready")
			return cmd.Wait()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("sshfs does not mount")
}
