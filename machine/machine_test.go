// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestADescriptionOfThisMachine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	require.NoError(t, Write(dir))
	k, release, err := Read(dir)
	require.NoError(t, err)
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	require.Equal(t, unix.ByteSliceToString(u.Release[:]), k.Release)
	require.Equal(t, unix.ByteSliceToString(u.Machine[:]), k.Machine)
	require.Equal(t, runtime.NumCPU(), k.CPUs)
	want, err := osRelease()
	require.NoError(t, err)
	require.Equal(t, string(want), string(release))
}

func TestDescriptionsThatAreRefused(t *testing.T) {
	kernel := func(release, machine string, cpus int) string {
		return fmt.Sprintf(`{"release":%q,"version":"#1","machine":%q,"cpus":%d}`, release, machine, cpus)
	}
	good := kernel("6.1", "x86_64", 8)
	for _, c := range []struct{ name, kernel, release, want string }{
		{"no text", "", "", "unexpected end"},
		{"no release", kernel("", "x86_64", 8), "", "release"},
		{"release too long", kernel(strings.Repeat("6", 65), "x86_64", 8), "", "release"},
		{"machine with a line's end", kernel("6.1", "x86\n64", 8), "", "machine"},
		{"no processors", kernel("6.1", "x86_64", 0), "", "0 processors"},
		{"too many processors", kernel("6.1", "x86_64", MaxCPUs+1), "", "8193 processors"},
		{"a file that is too long", good + strings.Repeat(" ", maxFile), "", "longer than"},
		{"an operating system with an escape", good, "PRETTY_NAME=\"\x1b[2J\"\n", "os-release"},
		{"an operating system too long", good, strings.Repeat("a", maxFile+1), "longer than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, KernelFile), []byte(c.kernel), 0o644))
			require.NoError(t, os.WriteFile(filepath.Join(dir, OSReleaseFile), []byte(c.release), 0o644))
			_, _, err := Read(dir)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, _, err := Read(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}
