// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"

	"github.com/container-offload/offload/integration/vm"
)

// TestMachines holds that the two machines are what they are said to be, and can reach each other by both links.
func TestMachines(t *testing.T) {
	kernels := map[string]bool{}
	for _, m := range []*vm.Machine{pair.Host, pair.DPU} {
		out, err := m.Shell(t.Context(), "uname -r; stat -f -c %T /sys/fs/cgroup; . /etc/os-release; echo $VERSION_CODENAME")
		if err != nil {
			t.Fatal(err)
		}
		t.Log(strings.ReplaceAll(out, "\n", ", "))
		kernel, rest, _ := strings.Cut(out, "\n")
		kernels[kernel] = true
		if !strings.HasPrefix(rest, "cgroup2fs\n") {
			t.Errorf("not cgroup v2: %s", rest)
		}
	}
	if len(kernels) != 2 {
		t.Errorf("both machines have the same kernel: %v", kernels)
	}
	for from, to := range map[*vm.Machine]string{pair.Host: vm.DPUAddress, pair.DPU: vm.HostAddress} {
		if _, err := from.Output(t.Context(), "ping", "-c", "3", "-i", "0.2", "-W", "5", to); err != nil {
			t.Error(err)
		}
	}
}

// TestWayIn holds that commands' exit statuses, streams and files come through unchanged.
func TestWayIn(t *testing.T) {
	r, err := pair.Host.Try(t.Context(), "sh", "-c", `echo "out $1"; echo err >&2; exit 7`, "sh", "it's $HOME *")
	if err != nil {
		t.Fatal(err)
	}
	if want := (vm.Result{Out: "out it's $HOME *\n", Err: "err\n", Code: 7}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	content := make([]byte, 3<<20)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	if err := pair.DPU.WriteFile(t.Context(), "/tmp/some dir/file", bytes.NewReader(content), 0o640); err != nil {
		t.Fatal(err)
	}
	var back bytes.Buffer
	if err := pair.DPU.ReadFile(t.Context(), "/tmp/some dir/file", &back); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Bytes(), content) {
		t.Error("a file came back different")
	}
	if err := pair.DPU.ReadFile(t.Context(), "/nowhere", io.Discard); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("reading a file that is not there: %v", err)
	}
}
