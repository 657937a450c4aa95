// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package shadow

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func start(t *testing.T, ns Namespaces) *Shadow {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	s, err := Start("offload-shadow test", ns)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

func TestProgramIsAnExecutable(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(program()))
	require.NoError(t, err)
	require.Equal(t, elf.ET_EXEC, f.Type)
	require.Equal(t, elf.Machine(machine), f.Machine)
	require.Len(t, f.Progs, 1)
	require.Equal(t, uint64(len(program())), f.Progs[0].Filesz)
}

func TestShadowHasOwnNamespaces(t *testing.T) {
	s := start(t, Namespaces{New: unix.CLONE_NEWNET | unix.CLONE_NEWIPC})
	for name, own := range map[string]bool{"net": true, "ipc": true, "uts": false, "mnt": false} {
		mine, err := inode("/proc/self/ns/" + name)
		require.NoError(t, err)
		theirs, err := inode(fmt.Sprintf("/proc/%d/ns/%s", s.Pid(), name))
		require.NoError(t, err)
		require.Equal(t, own, mine != theirs, "namespace %s", name)
	}
}

func TestShadowJoinsANamespace(t *testing.T) {
	first := start(t, Namespaces{New: unix.CLONE_NEWNET})
	path := fmt.Sprintf("/proc/%d/ns/net", first.Pid())
	second := start(t, Namespaces{Join: []string{path}})
	want, err := inode(path)
	require.NoError(t, err)
	got, err := inode(fmt.Sprintf("/proc/%d/ns/net", second.Pid()))
	require.NoError(t, err)
	require.Equal(t, want, got)
	own, err := inode("/proc/self/ns/net")
	require.NoError(t, err)
	require.NotEqual(t, own, got, "this process must not have moved")
}

func TestWhoHasEndedAShadow(t *testing.T) {
	ended := make(chan unix.Signal)
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		s := start(t, Namespaces{})
		go func() { ended <- s.AwaitKill() }()
		require.NoError(t, unix.Kill(s.Pid(), signal))
		require.Equal(t, signal, <-ended)
		require.Error(t, unix.Kill(s.Pid(), 0), "reaped")
	}
	s := start(t, Namespaces{})
	go func() { ended <- s.AwaitKill() }()
	s.Stop()
	require.Zero(t, <-ended)
	require.Zero(t, s.AwaitKill(), "asked afterwards")
}

func TestShadowIsSmallAndNamed(t *testing.T) {
	s := start(t, Namespaces{})
	require.Eventually(t, func() bool { // the child has not executed the program yet
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.Pid()))
		return err == nil && string(cmdline) == "offload-shadow test\x00"
	}, 5*time.Second, time.Millisecond)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	require.NoError(t, err)
	var kb int
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			break
		}
	}
	require.Less(t, kb, 64, "resident set of a shadow in KiB")
}

func TestStopReapsAndMayBeRepeated(t *testing.T) {
	s := start(t, Namespaces{})
	s.Stop()
	s.Stop()
	require.ErrorIs(t, unix.Kill(s.Pid(), 0), unix.ESRCH)
}

// TestShadowDiesWithItsMaker runs this test binary as the maker and kills it.
func TestShadowDiesWithItsMaker(t *testing.T) {
	if os.Getenv("SHADOW_MAKER") == "1" {
		s, err := Start("offload-shadow orphan", Namespaces{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", s.Pid())
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestShadowDiesWithItsMaker$")
	cmd.Env = append(os.Environ(), "SHADOW_MAKER=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	_, err = fmt.Fscanf(out, "pid %d\n", &pid)
	require.NoError(t, err)
	fd, err := unix.PidfdOpen(pid, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed on purpose
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	var n int
	require.Eventually(t, func() bool { n, err = unix.Poll(fds, 100); return n == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, err)
}

func TestStartNamesTheMissingNamespace(t *testing.T) {
	_, err := Start("x", Namespaces{Join: []string{"/proc/self/ns/none"}})
	require.ErrorContains(t, err, "/proc/self/ns/none")
}

func TestRegistryFindsTheOwnerOfANamespace(t *testing.T) {
	r := NewRegistry(t.TempDir())
	s := start(t, Namespaces{New: unix.CLONE_NEWNET})
	remove, err := r.Add(Entry{Namespace: "default", Shim: "pod", ID: "web"}, s, []string{"net"})
	require.NoError(t, err)
	path := fmt.Sprintf("/proc/%d/ns/net", s.Pid())

	e, err := r.FindNamespace("net", path)
	require.NoError(t, err)
	require.Equal(t, "web", e.ID)

	bound := t.TempDir() + "/ns"
	require.NoError(t, os.WriteFile(bound, nil, 0o600))
	require.NoError(t, unix.Mount(path, bound, "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount(bound, unix.MNT_DETACH) }()
	e, err = r.FindNamespace("net", bound)
	require.NoError(t, err)
	require.Equal(t, "web", e.ID)

	_, err = r.FindNamespace("net", "/proc/self/ns/net")
	require.True(t, errors.Is(err, errdefs.ErrNotFound), "%v", err)

	s.Stop()
	list, err := r.List()
	require.NoError(t, err)
	require.Empty(t, list, "a dead shadow's entry is dropped")
	remove()
}

func TestRegistryForgets(t *testing.T) {
	r := NewRegistry(t.TempDir())
	for _, id := range []string{"web", "db"} {
		remove, err := r.Add(Entry{Namespace: "default", Shim: "pod", ID: id}, start(t, Namespaces{New: unix.CLONE_NEWNET}), []string{"net"})
		require.NoError(t, err)
		defer remove()
	}
	require.NoError(t, r.Forget("other", "web"), "nothing of that namespace is there")
	require.NoError(t, r.Forget("default", "web"))
	list, err := r.List()
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "db", list[0].ID)
	require.NoError(t, NewRegistry(t.TempDir()+"/none").Forget("default", "web"), "no registry yet")
}
