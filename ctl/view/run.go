// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/ctl/view/calls"
)

// Options say what to run.
type Options struct {
	// Unit names the daemon in process lists.
	Unit string
	// Config is the path of the DPU's configuration file.
	Config string
	// Command is the daemon and its arguments.
	Command []string
	// Helper is the command line, without the program, that makes this program
	// call [Keep].
	Helper []string
}

// Run makes this process the daemon that the options name, in its surroundings.
// It returns only if that fails, and then nothing is left behind.
func Run(o Options) error {
	program, err := exec.LookPath(o.Command[0])
	if err != nil {
		return fmt.Errorf("run %s: %w", o.Unit, err)
	}
	// The namespace is that of one thread, which the program replaces.
	runtime.LockOSThread()
	if err := separate(); err != nil {
		return fmt.Errorf("run %s: %w", o.Unit, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("run %s: %w", o.Unit, err)
	}
	if err := furnish(links(filepath.Dir(self))); err != nil {
		return fmt.Errorf("run %s: %w", o.Unit, err)
	}
	if err := coverOSRelease(); err != nil {
		return fmt.Errorf("run %s: %w", o.Unit, err)
	}
	caller, err := startHelper(self, o)
	if err != nil {
		return fmt.Errorf("run %s: show it the HOST: %w", o.Unit, err)
	}
	// Where the kernel can't do this the helper says so, and the daemon sees this
	// machine's.
	listener, err := calls.Install()
	if err := calls.Send(caller, listener, err); err != nil {
		return fmt.Errorf("run %s: show it the HOST: %w", o.Unit, err)
	}
	err = unix.Exec(program, o.Command, environment())
	return fmt.Errorf("run %s: %w", program, err)
}

// separate gives the calling thread a mount namespace in which /proc and the
// control groups are its own, and everything else is shared as it was.
func separate() error {
	shared, err := sharedRoot()
	if err != nil {
		return err
	}
	if !shared {
		return errors.New("the mounts of this machine are private, so containerd's shims would not see what the daemon mounts; " +
			"\"mount --make-rshared /\" changes that, as systemd does at boot")
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make mount namespace: %w", err)
	}
	for _, dir := range []string{"/proc", cgroupRoot} {
		err := unix.Mount("", dir, "", unix.MS_REC|unix.MS_PRIVATE, "")
		// EINVAL: nothing is mounted there.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cut %s off from other namespaces: %w", dir, err)
		}
	}
	return nil
}

// sharedRoot tells whether mounts below / reach other namespaces.
func sharedRoot() (bool, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("look at the mounts: %w", err)
	}
	defer f.Close()
	shared := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// The last one on / covers those before it. See proc_pid_mountinfo(5).
		fields := strings.Fields(lines.Text())
		if len(fields) < 7 || fields[4] != "/" {
			continue
		}
		shared = false
		for _, optional := range fields[6:] {
			if optional == "-" {
				break
			}
			shared = shared || strings.HasPrefix(optional, "shared:")
		}
	}
	return shared, lines.Err()
}

// furnish makes the private file system with the links.
func furnish(links []Link) error {
	if err := unix.Mount("offload-view", anchor, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711,size=64k"); err != nil {
		return fmt.Errorf("mount a private file system on %s: %w", anchor, err)
	}
	for _, dir := range []string{binDir, procDir, cgroupDir, aboutDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := os.Symlink(l.Program, filepath.Join(binDir, l.Name)); err != nil {
			return err
		}
	}
	return nil
}

// environment is this process's with the links before everything else in PATH.
func environment() []string {
	path := binDir
	if old := os.Getenv("PATH"); old != "" {
		path += ":" + old
	}
	env := []string{"PATH=" + path}
	// Go's runtime takes the number of processors that it is shown for those that it
	// has.
	if os.Getenv("GOMAXPROCS") == "" {
		env = append(env, fmt.Sprintf("GOMAXPROCS=%d", runtime.GOMAXPROCS(0)))
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PATH=") {
			env = append(env, v)
		}
	}
	return env
}

// ready is what the helper says when the HOST's files are there.
const ready = "ready\n"

// maxComplaint bounds what the helper may say otherwise, in bytes.
const maxComplaint = 4096

// startHelper starts the process that keeps the HOST's files, in the calling
// thread's namespace, and waits until they are there. It returns where the process
// awaits the listener of the daemon's calls.
func startHelper(self string, o Options) (caller *os.File, err error) {
	told, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer told.Close()
	caller, answerer, err := calls.Pair()
	if err != nil {
		tell.Close()
		return nil, err
	}
	defer answerer.Close()
	defer func() {
		if err != nil {
			caller.Close()
		}
	}()
	// The daemon inherits nothing but its parent's standard streams: the helper
	// has a descriptor for this process, whatever it becomes.
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		tell.Close()
		return nil, fmt.Errorf("open this process: %w", err)
	}
	life := os.NewFile(uintptr(pidfd), "daemon")
	defer life.Close()
	cmd := exec.Command(self, o.Helper...)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{life, tell, answerer}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(told, maxComplaint))
	if err == nil && string(answer) == ready {
		return caller, nil
	}
	_ = cmd.Wait()
	if text := strings.TrimSpace(string(answer)); text != "" {
		return nil, errors.New(text)
	}
	return nil, errors.Join(err, errors.New("the helper has ended"))
}
