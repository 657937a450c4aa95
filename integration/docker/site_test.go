// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// Where a site's dockerd has its things.
const (
	siteDir    = "/srv/site"
	siteSocket = "unix://" + siteDir + "/docker.sock"
)

// sitePatience is how long a site's dockerd may take to answer, and to end.
const sitePatience = time.Minute

// useSite comes before a script that talks to the site's dockerd.
const useSite = "export DOCKER_HOST=" + siteSocket + "\n"

// site is a second dockerd in a lab, on the same containerd, that is configured as this or that site would.
type site struct {
	l     *lab.Lab
	flags []string
	// replace is what differs from the lab's configuration file: dockerd takes nothing from its command line that the
	// file says as well.
	replace *strings.Replacer
	process *lab.Process
}

// startSites starts a site in each of the two labs and ends it with the test.
func startSites(t *testing.T, replace *strings.Replacer, flags ...string) [2]*site {
	t.Helper()
	var sites [2]*site
	for i, l := range pair {
		sites[i] = &site{l: l, flags: flags, replace: replace}
	}
	t.Cleanup(func() { both(t, sites, (*site).remove) })
	both(t, sites, (*site).start)
	return sites
}

// both does something with both sites at the same time.
func both(t *testing.T, sites [2]*site, do func(*site, context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	for i, s := range sites {
		wg.Go(func() {
			if err := do(s, ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.l.Kind, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
}

// start starts the site's dockerd, for the first time or again.
func (s *site) start(ctx context.Context) (err error) {
	text, err := s.l.DPU.ReadFile("/etc/docker/daemon.json")
	if err != nil {
		return fmt.Errorf("configure a site: %w", err)
	}
	if s.replace != nil {
		text = []byte(s.replace.Replace(string(text)))
	}
	if err := s.l.DPU.WriteFile(filepath.Join(siteDir, "daemon.json"), text, 0o644); err != nil {
		return fmt.Errorf("configure a site: %w", err)
	}
	// Without a bridge it would remove that of the lab's dockerd.
	bridge := s.l.DPU.Shell(ctx, "ip link show site0 || { ip link add site0 type bridge && ip addr add 172.31.0.1/16 dev site0; }")
	if out, err := bridge.CombinedOutput(); err != nil {
		return fmt.Errorf("make a bridge: %w: %s", err, out)
	}
	s.process, err = s.l.DPU.Start(ctx, lab.Daemon{
		Name: "site", Argv: s.argv(), Patience: sitePatience,
		Ready: func(ctx context.Context) error {
			out, err := s.l.DPU.Shell(ctx, useSite+"docker version").CombinedOutput()
			if err != nil {
				return fmt.Errorf("docker version: %w: %s", err, out)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	image := s.l.Image("busybox")
	pull := s.l.DPU.Shell(ctx, useSite+"docker pull -q "+image+" && docker tag "+image+" busybox")
	if out, err := pull.CombinedOutput(); err != nil {
		return fmt.Errorf("pull %s: %w: %s", image, err, out)
	}
	return nil
}

// argv is the site's command line. What it shares with the lab's dockerd, it has in places of its own.
func (s *site) argv() []string {
	var argv []string
	if s.l.Kind == lab.Offload {
		argv = []string{"env", "DOCKER_BUILDKIT_RUNC_COMMAND=offload-runc", "offloadctl", "run", "--unit", "site", "--"}
	}
	return append(append(argv, "dockerd",
		"--config-file", siteDir+"/daemon.json", "--data-root", siteDir+"/data", "--exec-root", siteDir+"/exec",
		"--pidfile", siteDir+"/pid", "--host", siteSocket, "--containerd-namespace", "site",
		"--containerd-plugins-namespace", "site-plugins", "--bridge", "site0", "--iptables=false", "--ip6tables=false",
	), s.flags...)
}

// remove ends the site and removes what it had.
func (s *site) remove(ctx context.Context) error {
	if s.process == nil {
		return nil
	}
	out, err := s.l.DPU.Shell(ctx, useSite+"docker ps -aq | xargs -r docker rm -f -v").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("clean up: %w: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, sitePatience)
	defer cancel()
	err = errors.Join(err, s.process.Stop(ctx))
	return errors.Join(err, s.l.DPU.Shell(ctx, "ip link del site0; rm -rf "+siteDir).Run())
}

// TestDaemonFlags holds that what a site tells dockerd to give every container reaches the containers.
func TestDaemonFlags(t *testing.T) {
	profile := `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`
	for _, l := range pair {
		if err := l.DPU.WriteFile("/srv/profile.json", []byte(profile), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	startSites(t, nil, "--cgroup-parent", "/site", "--default-ulimit", "nofile=321:400", "--seccomp-profile",
		"/srv/profile.json", "--no-new-privileges", "--init", "--default-shm-size", "10M", "--default-ipc-mode", "shareable",
		"--default-cgroupns-mode", "host", "--log-opt", "max-size=1k", "--log-opt", "max-file=2", "--label", "site=1")
	compare(t, useSite+`
docker run --rm busybox sh -c 'ulimit -Sn; ulimit -Hn; grep NoNewPrivs /proc/self/status; cat /proc/1/cmdline | tr "\0" " "'
docker run --rm busybox mkdir /x; echo status $?
docker run --rm busybox grep :memory: /proc/self/cgroup
docker run --rm busybox sh -c 'mount | grep -c "/dev/shm type tmpfs"; df -k /dev/shm | tail -1'
docker run --name rotated busybox seq 2000 | wc -l
docker logs rotated | tail -1; test $(docker logs rotated | wc -l) -lt 1000; echo $?
docker inspect -f '{{json .HostConfig.LogConfig}}' rotated
docker info -f '{{.SecurityOptions}} {{.Labels}} {{.CgroupDriver}}'
`)
}

// TestHostProcessors holds that the processors which dockerd lets containers be bound to are the HOST's.
func TestHostProcessors(t *testing.T) {
	const script = `
		for file in cpuset.cpus.effective cpuset/cpuset.cpus; do
			test ! -e /sys/fs/cgroup/$file || grep " /sys/fs/cgroup/$file " /proc/self/mountinfo | grep -c host:/sys/fs/cgroup
		done`
	ctx, cancel := context.WithTimeout(t.Context(), sitePatience)
	defer cancel()
	out, err := pair[0].DPU.Command(ctx, "offloadctl", "run", "--unit", "look", "--", "sh", "-c", script).CombinedOutput()
	if lines := strings.Fields(string(out)); err != nil || len(lines) == 0 || slices.ContainsFunc(lines, func(l string) bool { return l != "1" }) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestInfo holds that dockerd says of the HOST what it would say there, and decides by it: kernel, architecture, operating
// system and number of processors. The HOST says that it is another machine than it is, since the two of a lab are one.
func TestInfo(t *testing.T) {
	ours := pair[0]
	about := shellOn(t, ours.Host, "echo /run/offload/*/machine")
	before := shellOn(t, ours.Host, "cat "+about+"/kernel "+about+"/os-release")
	t.Cleanup(func() {
		kernel, release, _ := strings.Cut(before, "}")
		for name, text := range map[string]string{"kernel": kernel + "}", "os-release": release} {
			if err := ours.Host.WriteFile(about+"/"+name, []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	for name, text := range map[string]string{
		"kernel":     `{"release":"6.99.0-far","version":"#1 of the HOST","machine":"riscv64","cpus":77}`,
		"os-release": "PRETTY_NAME=\"Far Linux 9\"\nVERSION_ID=\"9\"\n",
	} {
		if err := ours.Host.WriteFile(about+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &site{l: ours}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	t.Cleanup(func() {
		if err := s.remove(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := s.start(ctx); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"docker info -f '{{.KernelVersion}} {{.Architecture}} {{.NCPU}} {{.OperatingSystem}} {{.OSVersion}}'": "6.99.0-far riscv64 77 Far Linux 9 9",
		"test \"$(docker info -f '{{.Name}}')\" = \"$(hostname)\" && echo the name is the DPU\\'s":            "the name is the DPU's",
		"docker run --rm --network none --cpus 76.5 busybox echo as many as there are":                        "as many as there are",
		"docker run --rm --network none --cpus 77.5 busybox true || true":                                     "only 77 CPUs available",
		"test \"$(uname -r)\" != 6.99.0-far; grep PRETTY_NAME /etc/os-release | grep -c Far || true":          "0",
	} {
		if got := shellOn(t, ours.DPU, useSite+script); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %q", script, want, got)
		}
	}
}

// shellOn runs a script that has to succeed and returns what it prints.
func shellOn(t *testing.T, e *lab.Env, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	out, err := e.Shell(ctx, script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestTakenForRunc holds that dockerd may take the shim for runc's, and then knows of the HOST's runc what it knows of one
// on its own machine.
func TestTakenForRunc(t *testing.T) {
	startSites(t, strings.NewReplacer(`"runtimeType": "io.containerd.offload.v1"`, `"path": "offload-runc"`))
	compare(t, useSite+`
docker version | grep -A 1 -e runc: -e offload: | grep -o 'Version: .*'
docker info 2>/dev/null | grep -o 'runc version:.*'
mkdir -p tree/below; mount -t tmpfs none tree/below
docker run --rm --network none --mount type=bind,src=$PWD/tree,dst=/d,readonly,bind-propagation=rprivate,bind-recursive=readonly busybox sh -c 'touch /d/x /d/below/x 2>&1'
docker run --rm --network none -v $PWD/tree:/d:ro busybox touch /d/below/x
umount tree/below
docker run -d --name web --network none busybox sleep 1000 >/dev/null; docker exec web echo reached
docker update -m 64m --memory-swap 64m web; docker pause web; docker unpause web; docker kill web; docker wait web
docker start web; docker restart -t 0 web; docker rm -f web
`)
	if out := shellOn(t, pair[0].Host, "ls -d /run/docker /var/run/docker 2>/dev/null || true"); out != "" {
		t.Errorf("on the HOST: %s", out)
	}
}

// TestSystemdCgroups holds that with systemd as the driver it is systemd that is asked for a container's cgroup. A lab
// has none, which shows that it was: both sides say so, and no cgroup is made some other way.
func TestSystemdCgroups(t *testing.T) {
	startSites(t, strings.NewReplacer("cgroupdriver=cgroupfs", "cgroupdriver=systemd"))
	compare(t, useSite+`
docker info -f '{{.CgroupDriver}}'
docker run --rm busybox true; echo status $?
`)
}

// TestRefusedFlags holds that dockerd does not start with what it can't have, and says why.
func TestRefusedFlags(t *testing.T) {
	compare(t, `
echo nobody:100000:65536 | tee /etc/subuid >/etc/subgid
dockerd="dockerd --pidfile /srv/work/pid --host unix:///srv/work/docker.sock --data-root /srv/work/data"
refused() { timeout 60 $dockerd "$@" 2>&1 | tail -1; }
refused --userns-remap nobody:nogroup
refused --seccomp-profile /nowhere.json
refused --default-ulimit nofile=2:1
rm /etc/subuid /etc/subgid
`)
}
