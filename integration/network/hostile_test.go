// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// pidOnHost returns the process id that a container's first process has on the HOST.
func pidOnHost(t *testing.T, id string) string {
	t.Helper()
	full := must(t, "docker inspect -f '{{.Id}}' "+id)
	return mustIn(t, shared.Host, "cat /run/offload/shims/moby/*/tasks/"+full+"/init.pid")
}

// A hostile HOST can do in a container's namespace what it likes; the DPU lets nothing out that says it is another's.
func TestNobodySpeaksForAnother(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	id := name(t, "")
	start(t, id, "", idle)
	must(t, in(id, "ping -c 1 -w 10 172.17.0.1"))
	inside := func(script string) (string, int) {
		return attempt(t, shared.Host, "nsenter -n -t "+pidOnHost(t, id)+" sh -c '"+script+"'")
	}
	if out, code := inside("ip addr add 172.17.0.200/16 dev eth0 && ping -c 1 -W 1 -w 1 -I 172.17.0.200 172.17.0.1"); code == 0 {
		t.Errorf("another address got through: %s", out)
	}
	if out, code := inside("ip link set eth0 address 02:00:00:00:66:66 && ip route replace default via 172.17.0.1 && ping -c 1 -W 1 -w 1 172.17.0.1"); code == 0 {
		t.Errorf("another MAC got through: %s", out)
	}
	if out := must(t, "ip neigh; bridge fdb"); strings.Contains(out, "172.17.0.200") || strings.Contains(out, "02:00:00:00:66:66") {
		t.Errorf("the DPU has learned: %s", out)
	}
}

func TestAContainerThatMayChangesItsInterface(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--subnet 10.205.0.0/24")
	id := name(t, "")
	start(t, id, "--cap-add NET_ADMIN", idle)
	must(t, in(id, "ip addr add 172.17.0.200/16 dev eth0; ip addr add 192.0.2.1/32 dev lo; "+
		"ip route add 198.51.100.0/24 via 172.17.0.1"))
	eventually(t, "1 packets received", in(id, "ping -c 1 -w 5 -I 172.17.0.200 172.17.0.1"))
	eventually(t, "1 received", "ping -c 1 -w 5 172.17.0.200")
	// What the DPU changes meanwhile, and what the container has made for itself, are in nobody's way.
	must(t, "docker network connect --ip 10.205.0.9 "+net+" "+id)
	eventually(t, "10.205.0.9/24", in(id, "ip addr show eth1"))
	if out := must(t, in(id, "ip route; ip addr")); !strings.Contains(out, "198.51.100.0/24") || !strings.Contains(out, "192.0.2.1/32") ||
		!strings.Contains(out, "172.17.0.200/16") {
		t.Errorf("its own are gone: %s", out)
	}
	must(t, in(id, "ip link set eth1 down; ip link set eth1 address 02:00:00:00:20:05; ip link set eth1 up; ip addr del 172.17.0.200/16 dev eth0"))
	eventually(t, "1 packets received", in(id, "ping -c 1 -w 2 10.205.0.1"))
	if out := must(t, "ip neigh"); !strings.Contains(out, "02:00:00:00:20:05") {
		t.Errorf("the DPU has not learned: %s", out)
	}
	eventually(t, "100% packet loss", "ping -c 1 -W 1 172.17.0.200; true")
	must(t, "docker network disconnect "+net+" "+id)
	eventually(t, "can't find device", in(id, "ip addr show eth1; true"))
	must(t, in(id, "ping -c 1 -w 10 172.17.0.1"))
}

// A connection through a published port outlives the link's loss.
func TestConnectionsOutliveTheLink(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	id := name(t, "")
	start(t, id, "-p 8100:8100", "nc -ll -p 8100 -e cat")
	eventually(t, "first", "timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8100; echo first >&3; head -c 5 <&3'")
	done := make(chan string, 1)
	go func() {
		defer close(done) // whatever becomes of the attempt
		out, _ := attempt(t, shared.DPU, `timeout 50 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8100; for i in 1 2 3 4 5; do echo line$i >&3; read -t 40 -r x <&3; echo $x; sleep 0.5; done'`)
		done <- out
	}()
	time.Sleep(time.Second) // the connection is up; whether it is matters not for what must hold
	if err := shared.Host.SetLink(false); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if err := shared.Host.SetLink(true); err != nil {
		t.Fatal(err)
	}
	if out := <-done; !strings.Contains(out, "line5") {
		t.Errorf("of the lines came back: %s", out)
	}
}

func restartDaemons(t *testing.T) {
	t.Helper()
	for _, d := range []struct {
		stop  *lab.Process
		start func() error
	}{
		{shared.Daemon, func() error { return shared.StartDaemon(t.Context()) }},
		{shared.Agent, func() error { return shared.StartAgent(t.Context()) }},
	} {
		if err := d.stop.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.start(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whichever half of a shim dies at once, what it had made of a network is gone, on both machines, and the port and the
// address serve the next container.
func TestADeadShimLeavesNoNetwork(t *testing.T) {
	offloadOnly(t)
	for half, kill := range map[string]func(t *testing.T, id string){
		"DPU": func(t *testing.T, id string) {
			full := must(t, "docker inspect -f '{{.Id}}' "+id)
			must(t, "kill -9 $(pgrep -f '[c]ontainerd-shim-offload-v1 .*-id "+full+"')")
		},
		"HOST": func(t *testing.T, id string) {
			mustIn(t, shared.Host, "kill -9 $(cut -d ' ' -f 4 /proc/"+pidOnHost(t, id)+"/stat)")
		},
	} {
		t.Run(half, func(t *testing.T) {
			leavesNothing(t)
			id := name(t, "")
			const count = "echo $(ip -o link | wc -l) links, $(iptables-save | grep -c 8200) rules, $(nft list ruleset | wc -l) lines."
			onDPU, onHost := must(t, count), mustIn(t, shared.Host, count)
			start(t, id, "-p 8200:80", serve("alive"))
			eventually(t, "alive", "curl -sS -m 5 http://127.0.0.1:8200/")
			kill(t, id)
			eventually(t, "false", "docker inspect -f '{{.State.Running}}' "+id)
			eventually(t, onDPU, count)
			eventuallyIn(t, shared.Host, onHost, count)
			must(t, "docker start "+id)
			eventually(t, "alive", "curl -sS -m 5 http://127.0.0.1:8200/")
		})
	}
}
