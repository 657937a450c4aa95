// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

func TestNginx(t *testing.T) {
	leavesNothing(t)
	must(t, "docker pull -q "+shared.Image("nginx"))
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker rmi "+shared.Image("nginx")) })
	id := name(t, "")
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker rm -f "+id) })
	must(t, "docker run -d --name "+id+" -p 8080:80 "+shared.Image("nginx"))
	eventually(t, "Welcome to nginx!", "curl -sS -m 5 http://127.0.0.1:8080/")
	eventually(t, "GET / HTTP/1.1", "docker logs "+id)
	must(t, "docker exec "+id+" dd if=/dev/urandom of=/usr/share/nginx/html/large bs=1M count=32 2>/dev/null")
	sum := must(t, "docker exec "+id+" sha256sum /usr/share/nginx/html/large | cut -d ' ' -f 1")
	if got := must(t, "curl -sS -m 50 http://127.0.0.1:8080/large | sha256sum | cut -d ' ' -f 1"); got != sum {
		t.Errorf("32 MiB became others: %s, not %s", got, sum)
	}
	if lab.AskedKind() == lab.Offload {
		loadWhileTheLinkIsCut(t)
	}
}

// No request of many is lost, and no connection, when the link goes away under them, for a tenth of a second several
// times and once for longer, and when the daemons of both machines are stopped and started.
func loadWhileTheLinkIsCut(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	load := shared.DPU.Command(ctx, peerProgram, "load", "127.0.0.1:8080", "16", "6")
	load.Stdout, load.Stderr = &out, &out
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	for _, cut := range []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		time.Sleep(400 * time.Millisecond) // under load
		for _, up := range []bool{false, true} {
			if err := shared.Host.SetLink(up); err != nil {
				t.Error(err)
			}
			if !up {
				time.Sleep(cut)
			}
		}
	}
	restartDaemons(t)
	if err := load.Wait(); err != nil {
		t.Fatalf("a load of requests while the link is cut and the daemons are restarted: %v: %s", err, &out)
	}
	t.Logf("%s requests a second, with the cuts and restarts", strings.TrimSpace(out.String()))
}

// A real service on two networks, with its clients on one each and one outside.
func TestAService(t *testing.T) {
	leavesNothing(t)
	must(t, "docker pull -q "+shared.Image("redis"))
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker rmi "+shared.Image("redis")) })
	front := network(t, "")
	back := front + "-back"
	must(t, "docker network create --internal "+back)
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker network rm "+back) })
	store, web, worker := name(t, "-store"), name(t, "-web"), name(t, "-worker")
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker rm -f -v "+store) })
	must(t, "docker create --name "+store+" --network "+front+" --network-alias store -p 127.0.0.1:6379:6379 --health-cmd 'redis-cli ping' --health-interval 1s "+
		shared.Image("redis"))
	must(t, "docker network connect --alias store "+back+" "+store)
	must(t, "docker start "+store)
	start(t, web, "--network "+front, idle)
	start(t, worker, "--network "+back, idle)
	eventually(t, "healthy", "docker inspect -f '{{.State.Health.Status}}' "+store)

	redis := func(command string) string { return `printf "` + command + `\r\nQUIT\r\n" | nc -w 5 store 6379` }
	eventually(t, "+OK", in(web, redis("SET greeting hello")))
	if out := must(t, in(worker, redis("GET greeting"))); !strings.Contains(out, "hello") {
		t.Errorf("the worker got %q", out)
	}
	if out := must(t, `bash -c 'exec 3<>/dev/tcp/127.0.0.1/6379; printf "GET greeting\r\nQUIT\r\n" >&3; cat <&3'`); !strings.Contains(out, "hello") {
		t.Errorf("the DPU got %q", out)
	}
	fails(t, in(worker, "ping -c 1 -w 1 "+web))
	// Many requests by many connections, and what one can't hold.
	out := must(t, "docker exec "+store+" redis-benchmark -h "+store+" -c 20 -n 2000 -d 2000 -t set,get --csv")
	if strings.Count(out, "\n") < 2 {
		t.Errorf("redis-benchmark: %s", out)
	}
	out = must(t, "docker run --rm --network "+front+" "+shared.Image("redis")+" redis-benchmark -h store -c 20 -n 2000 -d 20000 -t set,get --csv")
	if !strings.Contains(out, `"GET"`) {
		t.Errorf("redis-benchmark: %s", out)
	}
}
