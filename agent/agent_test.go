// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/agent/dpu"
	"github.com/container-offload/offload/agent/host"
	"github.com/container-offload/offload/config"
	"github.com/container-offload/offload/ctl"
	"github.com/container-offload/offload/machine"
	"github.com/container-offload/offload/shim/shadow"
	"github.com/container-offload/offload/status"
)

// patience is how long something may take that happens by itself.
const patience = 20 * time.Second

// pair is a HOST and a DPU in one directory, with a unix socket between them.
type pair struct {
	dir      string
	dpuFile  string
	hostFile string
	dpu      *config.DPU
	host     *config.Host
	metrics  string
}

// newPair configures both. The HOST has the lines in more, too.
func newPair(t *testing.T, more string) *pair {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	// /var/tmp, since overlayfs needs a disk below it.
	dir, err := os.MkdirTemp("/var/tmp", "agent")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	p := &pair{dir: dir, dpuFile: dir + "/dpu.toml", hostFile: dir + "/host.toml", metrics: freeAddress(t)}
	require.NoError(t, os.MkdirAll(dir+"/data/sub", 0o755))
	require.NoError(t, os.WriteFile(dir+"/data/sub/file", []byte("of the host"), 0o644))
	p.write(t, p.hostFile, `version = 1
link.listen = "unix://DIR/link.sock"
store.root = "DIR/store"
store.tree = "DIR/tree"
shim = {binary = "/bin/true", warm = 0, state = "DIR/shims", runc = "/bin/true"}
state.dir = "DIR/agent"
rexec.socket = "DIR/rexec-host.sock"
`+more+`
[[export]]
name = "data"
path = "DIR/data"
`)
	p.write(t, p.dpuFile, `version = 1
link = {address = "unix://DIR/link.sock", connect_timeout = "1s", resume_timeout = "1s"}
containerd.address = "DIR/containerd.sock"
plugins.socket = "DIR/plugins.sock"
remotefs = {tree = "DIR/tree", mountpoint = "DIR/mnt"}
state.dir = "DIR/dpu"
rexec.socket = "DIR/rexec-dpu.sock"
metrics.listen = "`+p.metrics+`"
[[mount]]
export = "data"
path = "DIR/data"
mountpoint = "DIR/data-of-host"
`)
	p.dpu, err = config.LoadDPU(p.dpuFile)
	require.NoError(t, err)
	p.host, err = config.LoadHost(p.hostFile)
	require.NoError(t, err)
	return p
}

func (p *pair) write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", p.dir)), 0o600))
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// run runs a daemon until the returned function is called or the test ends.
func run(t *testing.T, daemon func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- daemon(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			assert.NoError(t, err)
		case <-time.After(patience):
			t.Error("the daemon does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

func (p *pair) runHost(t *testing.T) (stop func()) {
	return run(t, func(ctx context.Context) error {
		return host.Run(ctx, p.host, p.hostFile, slog.New(slog.DiscardHandler))
	})
}

func (p *pair) runDPU(t *testing.T) (stop func()) {
	return run(t, func(ctx context.Context) error { return dpu.Run(ctx, p.dpu, nil, slog.New(slog.DiscardHandler)) })
}

// report waits until the DPU's report is as wanted, and returns it.
func (p *pair) report(t *testing.T, want func(*status.Report) bool) *status.Report {
	t.Helper()
	var last *status.Report
	require.Eventually(t, func() bool {
		r, err := status.Get(t.Context(), p.dir+"/dpu/status.sock")
		if err != nil {
			return false
		}
		last = r
		return want(r)
	}, patience, 20*time.Millisecond, "the report is never as it should be")
	return last
}

func up(r *status.Report) bool {
	for _, m := range r.Mounts {
		if !m.Mounted {
			return false
		}
	}
	return r.Links[0].State == status.LinkUp
}

// offloadctl runs the command line tool on the DPU.
func (p *pair) offloadctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = ctl.Run(t.Context(), append(args, "--dpu", p.dpuFile), &out, &errs)
	return code, out.String(), errs.String()
}

func TestReports(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	p.runDPU(t)
	r := p.report(t, up)
	assert.Equal(t, "offload-dpu", r.Daemon)
	assert.Equal(t, os.Getpid(), r.PID)
	assert.Equal(t, "unix://"+p.dir+"/link.sock", r.Links[0].Address)
	assert.Equal(t, "permissions of the socket", r.Links[0].Security)
	assert.NotZero(t, r.Links[0].BytesIn)

	text, err := os.ReadFile(p.dir + "/data-of-host/sub/file")
	require.NoError(t, err)
	assert.Equal(t, "of the host", string(text))
	r = p.report(t, up)
	require.Len(t, r.Mounts, 2)
	for _, m := range r.Mounts {
		if m.Target == p.dir+"/data-of-host" {
			assert.Equal(t, "host:"+p.dir+"/data", m.Source)
			assert.Equal(t, uint64(len("of the host")), m.ReadBytes)
			assert.NotZero(t, m.Requests)
		}
	}

	peer, err := status.GetPeer(t.Context(), p.dir+"/dpu/status.sock")
	require.NoError(t, err)
	assert.Equal(t, "offload-host", peer.Daemon)
	assert.Equal(t, p.dir+"/store", peer.Store.Root)
	assert.NotZero(t, peer.Store.TotalBytes)
	assert.Len(t, peer.Links, 1)
	assert.Empty(t, peer.Problems)

	response, err := http.Get("http://" + p.metrics + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Contains(t, string(metrics), "offload_link_up{address=\"unix://"+p.dir+"/link.sock\"} 1\n")

	code, out, errs := p.offloadctl(t, "status")
	assert.Zero(t, code, errs)
	assert.Contains(t, out, "DPU  offload-dpu ")
	assert.Contains(t, out, "HOST  offload-host ")
	code, out, _ = p.offloadctl(t, "mounts", "-o", "json")
	assert.Zero(t, code)
	var mounts []struct {
		On   string
		Item status.Mount
	}
	require.NoError(t, json.Unmarshal([]byte(out), &mounts))
	assert.Len(t, mounts, 2)
}

// A daemon says that it is ready only once it can be used, and when it ends.
func TestReady(t *testing.T) {
	p := newPair(t, "")
	socket := p.dir + "/notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	next := func() string {
		require.NoError(t, l.SetReadDeadline(time.Now().Add(patience)))
		b := make([]byte, 64)
		n, err := l.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	stopHost := p.runHost(t)
	assert.Equal(t, "READY=1", next())
	c, err := net.Dial("unix", p.dir+"/link.sock")
	require.NoError(t, err)
	c.Close()
	stopHost()
	assert.Equal(t, "STOPPING=1", next())

	stopDPU := p.runDPU(t)
	assert.Equal(t, "READY=1", next(), "the HOST need not be there")
	c, err = net.Dial("unix", p.dir+"/plugins.sock")
	require.NoError(t, err)
	c.Close()
	stopDPU()
	assert.Equal(t, "STOPPING=1", next())
	for _, left := range []string{"/agent/status.sock", "/dpu/status.sock", "/link.sock"} {
		assert.NoFileExists(t, p.dir+left)
	}
}

// Whatever comes back comes back by itself.
func TestHostGoesAndComes(t *testing.T) {
	p := newPair(t, "")
	stop := p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	stop()
	r := p.report(t, func(r *status.Report) bool { return !up(r) && r.Links[0].Error != "" })
	assert.NotEmpty(t, r.Problems)
	began := time.Now()
	code, out, _ := p.offloadctl(t, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "link.sock")
	assert.Less(t, time.Since(began), 5*time.Second)
	code, out, _ = p.offloadctl(t, "status")
	assert.Equal(t, 1, code, "the HOST does not answer")
	assert.Contains(t, out, "HOST  ")
	p.runHost(t)
	p.report(t, up)
	assert.FileExists(t, p.dir+"/data-of-host/sub/file")
}

func TestMountAddRemove(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	stop := p.runDPU(t)
	p.report(t, up)
	at := p.dir + "/again"
	code, _, errs := p.offloadctl(t, "mount", "add", "data", p.dir+"/data", at, "--read-only")
	require.Zero(t, code, errs)
	assert.FileExists(t, at+"/sub/file")
	assert.ErrorIs(t, os.WriteFile(at+"/sub/file", nil, 0o644), unix.EROFS)
	code, _, errs = p.offloadctl(t, "mount", "add", "data", p.dir+"/data", at)
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "already exists")

	code, _, errs = p.offloadctl(t, "mount", "add", "nothing", "/x", p.dir+"/x")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "nothing")
	code, _, errs = p.offloadctl(t, "mount", "remove", p.dir+"/mnt")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "the configuration says so")
	code, _, _ = p.offloadctl(t, "mount", "remove", p.dir+"/never")
	assert.Equal(t, 1, code)
	code, _, _ = p.offloadctl(t, "mount", "add", "data", "relative", p.dir+"/x")
	assert.Equal(t, 2, code)

	// It is there again after a restart, and gone after a removal.
	stop()
	assert.NoFileExists(t, at+"/sub/file")
	p.runDPU(t)
	p.report(t, func(r *status.Report) bool { return up(r) && len(r.Mounts) == 3 })
	assert.FileExists(t, at+"/sub/file")
	code, _, errs = p.offloadctl(t, "mount", "remove", at+"/")
	require.Zero(t, code, errs)
	assert.NoFileExists(t, at+"/sub/file")
	assert.Len(t, p.report(t, up).Mounts, 2)
}

// The DPU may look at the HOST's /proc, and not change it.
func TestViews(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	for export, path := range map[string]string{"proc": "/proc", "cgroup": "/sys/fs/cgroup", "machine": "/machine"} {
		code, _, errs := p.offloadctl(t, "mount", "add", export, path, p.dir+"/view-"+export, "--read-only")
		require.Zero(t, code, errs)
	}
	want, err := os.ReadFile("/proc/sys/kernel/threads-max")
	require.NoError(t, err)
	got, err := os.ReadFile(p.dir + "/view-proc/sys/kernel/threads-max")
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
	meminfo, err := os.ReadFile(p.dir + "/view-proc/meminfo")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(meminfo), "MemTotal:"), "%.60q", meminfo)
	kernel, _, err := machine.Read(p.dir + "/view-machine")
	require.NoError(t, err)
	own, err := machine.Local()
	require.NoError(t, err)
	assert.Equal(t, own, kernel)
}

func TestNoViews(t *testing.T) {
	p := newPair(t, "views.enabled = false")
	p.runHost(t)
	p.runDPU(t)
	p.report(t, up)
	code, _, _ := p.offloadctl(t, "mount", "add", "proc", "/proc", p.dir+"/view")
	assert.Equal(t, 1, code)
}

// Each thing that is wrong is named, soon.
func TestDoctor(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrange func(t *testing.T, p *pair)
		want    []string
	}{
		{"no containerd", func(t *testing.T, p *pair) { p.runHost(t); p.runDPU(t); p.report(t, up) }, []string{
			"DPU  containerd does not answer on DIR/containerd.sock"}},
		{"no HOST", func(t *testing.T, p *pair) {
			p.runDPU(t)
			p.report(t, func(r *status.Report) bool { return r.Links[0].Error != "" })
		}, []string{"HOST  ", "DPU  There is no link to the HOST: ", "link.sock"}},
		{"no daemon", func(t *testing.T, p *pair) { p.runHost(t) }, []string{
			"DPU  offload-dpu does not answer: ", "the daemon is not running"}},
		{"no runc", func(t *testing.T, p *pair) {
			p.host.Shim.Runc = p.dir + "/runc"
			p.runHost(t)
			p.runDPU(t)
			p.report(t, up)
		}, []string{"HOST  No container can be started: the HOST has no runc (shim.runc is \"DIR/runc\""}},
		{"a shim that died", func(t *testing.T, p *pair) {
			require.NoError(t, os.MkdirAll(p.dir+"/shims/moby/c1", 0o700))
			require.NoError(t, os.WriteFile(p.dir+"/shims/moby/c1/half.pid", []byte("1073741824"), 0o600))
			p.runHost(t)
			p.runDPU(t)
			p.report(t, up)
		}, []string{"HOST  The HOST half of shim moby/c1 (pid 1073741824) has died and left DIR/shims/moby/c1"}},
		{"a shadow without a shim", func(t *testing.T, p *pair) {
			s, err := shadow.Start("c1", shadow.Namespaces{})
			require.NoError(t, err)
			t.Cleanup(s.Stop)
			_, err = shadow.NewRegistry(p.dir+"/dpu/shadows").Add(shadow.Entry{Namespace: "moby", Shim: "c1", ID: "c1"}, s, nil)
			require.NoError(t, err)
			p.runHost(t)
			p.runDPU(t)
			p.report(t, up)
		}, []string{"DPU  The shadow of task moby/c1 (pid "}},
		{"a wrong configuration", func(t *testing.T, p *pair) {
			p.write(t, p.dpuFile, "version = 1\n[link]\nadress = 'x'\n")
		}, []string{"DPU  DIR/dpu.toml:3:1: unknown key link.adress, did you mean link.address?."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, "")
			c.arrange(t, p)
			began := time.Now()
			code, out, errs := p.offloadctl(t, "doctor")
			took := time.Since(began)
			assert.Equal(t, 1, code, errs)
			for _, want := range c.want {
				assert.Contains(t, out, strings.ReplaceAll(want, "DIR", p.dir))
			}
			assert.Less(t, took, 5*time.Second, "the doctor takes his time")
			var found []struct{ On, Text string }
			_, out, _ = p.offloadctl(t, "doctor", "-o", "json")
			require.NoError(t, json.Unmarshal([]byte(out), &found))
			assert.NotEmpty(t, found)
		})
	}
}

// A certificate of a stranger, and one that will not do for long, are named.
func TestDoctorOfCertificates(t *testing.T) {
	p := newPair(t, "")
	pki := func(name string, days int) {
		var out strings.Builder
		require.Zero(t, ctl.Run(t.Context(), []string{"pki", "init", "--dir", filepath.Join(p.dir, name), "--days", fmt.Sprint(days)}, &out, &out), out.String())
	}
	pki("good", 1000)
	pki("short", 9)
	address := freeAddress(t)
	p.write(t, p.hostFile, `version = 1
link.listen = "tcp://`+address+`"
link.tls = {ca = "DIR/good/ca.crt", cert = "DIR/good/host.crt", key = "DIR/good/host.key"}
store = {root = "DIR/store", tree = "DIR/tree"}
shim = {binary = "/bin/true", warm = 0, state = "DIR/shims", runc = "/bin/true"}
state.dir = "DIR/agent"
rexec.socket = "DIR/rexec-host.sock"
`)
	p.write(t, p.dpuFile, `version = 1
link = {address = "tcp://`+address+`", tls = {ca = "DIR/short/ca.crt", cert = "DIR/short/dpu.crt", key = "DIR/short/dpu.key"}}
state.dir = "DIR/dpu"
rexec.socket = "DIR/rexec-dpu.sock"
`)
	var err error
	p.host, err = config.LoadHost(p.hostFile)
	require.NoError(t, err)
	p.runHost(t)
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	code, out, _ := p.offloadctl(t, "doctor")
	assert.Equal(t, 1, code)
	assert.Contains(t, out, "DPU  The certificate "+p.dir+"/short/dpu.crt expires on ")
	assert.Contains(t, out, "in 8 days")
	assert.Contains(t, out, "certificate")
	assert.Contains(t, out, "authority")
	t.Log(out)
}

// What others have bound of a mount is served again after a restart: dockerd does
// so with the root of every container.
func TestBindsComeBack(t *testing.T) {
	p := newPair(t, "")
	p.runHost(t)
	stop := p.runDPU(t)
	p.report(t, up)
	for _, name := range []string{"/bound", "/bound-ro", "/gone"} {
		require.NoError(t, os.Mkdir(p.dir+name, 0o755))
	}
	require.NoError(t, os.Mkdir(p.dir+"/data/short", 0o755))
	for name, of := range map[string]string{"/bound": "/sub", "/bound-ro": "/sub", "/gone": "/short"} {
		require.NoError(t, unix.Mount(p.dir+"/data-of-host"+of, p.dir+name, "", unix.MS_BIND, ""))
		t.Cleanup(func() { _ = unix.Unmount(p.dir+name, unix.MNT_DETACH) })
	}
	require.NoError(t, unix.Mount("", p.dir+"/bound-ro", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	stop()
	require.NoError(t, os.Remove(p.dir+"/data/short"))
	_, err := os.Stat(p.dir + "/bound/file")
	require.Error(t, err, "this test would show nothing")

	p.runDPU(t)
	p.report(t, up)
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(p.dir + "/bound/file")
		return err == nil && string(text) == "of the host"
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		_, err := os.Stat(p.dir + "/bound-ro/file")
		return err == nil && errors.Is(os.WriteFile(p.dir+"/bound-ro/file", nil, 0o644), unix.EROFS)
	}, patience, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(p.dir+"/bound/file", []byte("written"), 0o644))
	left, err := os.ReadDir(p.dir + "/gone")
	require.NoError(t, err)
	assert.Empty(t, left)
}
