// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/process"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	runcapi "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/shim/launcher"
)

// killed is the status of a task that ended with its half: 128 + SIGKILL.
const killed = 137

// Delete removes what is left of a task whose half is gone or must go: the
// container, its mounts and its files, and the pod's if this was its last task.
func Delete(ctx context.Context, cfg *config.Host, ns, shim, id string) (launcher.ExitRecord, error) {
	dir := launcher.PodDir(cfg.Shim.State, ns, shim)
	bundle := filepath.Join(dir, tasksDir, id)
	record := launcher.ExitRecord{Status: killed, ExitedAt: time.Now()}
	if lastTask(dir, id) {
		if err := endHalf(dir); err != nil {
			return record, err
		}
	}
	if err := deleteContainer(ctx, cfg, bundle, ns, id); err != nil {
		return record, err
	}
	if e, err := runc.ReadExitStatus(bundle); err == nil {
		record = launcher.ExitRecord{Pid: e.Pid, Status: e.Status, ExitedAt: e.Timestamp}
	}
	if err := removeTree(bundle); err != nil {
		return record, err
	}
	if !lastTask(dir, id) {
		return record, nil
	}
	return record, removeTree(dir)
}

// removeDead removes the pod in dir, whose half has died and left it. It fails
// with fs.ErrExist if the half is alive.
func removeDead(ctx context.Context, cfg *config.Host, ns, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, launcher.PIDFile))
	if err != nil {
		return fmt.Errorf("%s is being made or removed: %w: %w", dir, fs.ErrExist, err)
	}
	if sameProgram(string(b)) {
		return fmt.Errorf("%s belongs to process %s: %w", dir, b, fs.ErrExist)
	}
	if err := deleteContainers(ctx, cfg, dir, ns); err != nil {
		return err
	}
	return removeTree(dir)
}

// sameProgram tells whether the process runs this program, perhaps an earlier
// version of it. Pids come again, but then it is most likely another program.
func sameProgram(pid string) bool {
	its, err := os.Readlink(filepath.Join("/proc", pid, "exe"))
	if err != nil {
		return false
	}
	own, err := os.Executable()
	return err != nil || strings.TrimSuffix(its, " (deleted)") == strings.TrimSuffix(own, " (deleted)")
}

// deleteContainers has runc kill and forget every container of the pod in dir.
func deleteContainers(ctx context.Context, cfg *config.Host, dir, ns string) error {
	tasks, err := os.ReadDir(filepath.Join(dir, tasksDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list tasks: %w", err)
	}
	var errs []error
	for _, task := range tasks {
		errs = append(errs, deleteContainer(ctx, cfg, filepath.Join(dir, tasksDir, task.Name()), ns, task.Name()))
	}
	return errors.Join(errs...)
}

// lastTask tells whether the pod in dir has no task but id.
func lastTask(dir, id string) bool {
	tasks, err := os.ReadDir(filepath.Join(dir, tasksDir))
	return err != nil || len(tasks) == 0 || len(tasks) == 1 && tasks[0].Name() == id
}

// endHalf kills the half that has the pod in dir, if there is one.
func endHalf(dir string) error {
	// A pid alone proves nothing. One whose process holds the pod's socket is
	// the half's: the file was written by the process that made the socket.
	c, err := launcher.DialIn("unixpacket", dir, launcher.SocketName)
	if err != nil {
		return nil
	}
	c.Close()
	b, err := os.ReadFile(filepath.Join(dir, launcher.PIDFile))
	if err != nil {
		return fmt.Errorf("find shim: %w", err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		return fmt.Errorf("find shim: %w", err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open shim %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill shim %d: %w", pid, err)
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 2000)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("await end of shim %d: %w", pid, err)
	}
	return nil
}

// deleteContainer has runc kill and forget the container.
func deleteContainer(ctx context.Context, cfg *config.Host, bundle, ns, id string) error {
	if _, err := os.Stat(bundle); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	opts, err := runc.ReadOptions(bundle)
	if err != nil {
		return fmt.Errorf("read runc options: %w", err)
	}
	root, binary := runcRoot, cfg.Shim.Runc
	systemd := false
	if opts != nil {
		root, binary, systemd = opts.Root, opts.BinaryName, opts.SystemdCgroup
	}
	r := process.NewRunc(root, bundle, ns, binary, systemd)
	if err := r.Delete(ctx, id, &runcapi.DeleteOpts{Force: true}); err != nil {
		// Force makes a container that runc does not know no error.
		return fmt.Errorf("runc delete %s: %w", id, err)
	}
	return nil
}
