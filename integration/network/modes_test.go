// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"strings"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

func TestNone(t *testing.T) {
	leavesNothing(t)
	out := must(t, "docker run --rm --network none "+shared.Image("busybox")+" ip -o link")
	if strings.Count(out, "\n") != 0 || !strings.Contains(out, "lo:") {
		t.Errorf("links: %s", out)
	}
}

func TestHostIsTheHOST(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	out := must(t, "docker run --rm --network host "+shared.Image("busybox")+" ip -o addr")
	if !strings.Contains(out, lab.HostAddress) {
		t.Errorf("addresses: %s", out)
	}
}

func TestNetworkOfAnotherContainer(t *testing.T) {
	leavesNothing(t)
	first, second := name(t, "-first"), name(t, "-second")
	start(t, first, "", idle)
	start(t, second, "--network container:"+first, serve("joint"))
	eventually(t, "joint", in(first, get("127.0.0.1")))
	eventually(t, "joint", "curl -sS -m 5 http://"+address(t, first)+"/")
	if a, b := must(t, in(first, "ip -o link")), must(t, in(second, "ip -o link")); a != b {
		t.Errorf("one has\n%s\nand the other\n%s", a, b)
	}
}

func TestRestartKeepsPublishedPorts(t *testing.T) {
	leavesNothing(t)
	id := name(t, "")
	// It ends when it is told to.
	start(t, id, "--restart always -p 8090:80",
		`sh -c 'mkdir -p /tmp/www; echo again >/tmp/www/index.html; httpd -p 80 -h /tmp/www; until rm /tmp/stop 2>/dev/null; do sleep 0.1; done'`)
	eventually(t, "again", "curl -sS -m 5 http://127.0.0.1:8090/")
	must(t, in(id, "touch /tmp/stop"))
	eventually(t, "1", "docker inspect -f '{{.RestartCount}}' "+id)
	eventually(t, "again", "curl -sS -m 5 http://127.0.0.1:8090/")
	must(t, "docker restart -t 0 "+id)
	eventually(t, "again", "curl -sS -m 5 http://127.0.0.1:8090/")
	must(t, "docker stop -t 0 "+id)
	fails(t, "curl -sS -m 5 http://127.0.0.1:8090/")
	must(t, "docker start "+id)
	eventually(t, "again", "curl -sS -m 5 http://127.0.0.1:8090/")
}

func TestPauseHoldsConnectionsNotTheNetwork(t *testing.T) {
	leavesNothing(t)
	id, other := name(t, ""), name(t, "-other")
	start(t, id, "", serve("awake"))
	start(t, other, "", idle)
	eventually(t, "awake", "curl -sS -m 5 http://"+address(t, id)+"/")
	must(t, "docker pause "+id)
	fails(t, "curl -sS -m 1 http://"+address(t, id)+"/")
	must(t, in(other, "ping -c 1 -w 10 172.17.0.1"))
	must(t, "docker unpause "+id)
	eventually(t, "awake", "curl -sS -m 5 http://"+address(t, id)+"/")
}

func TestSysctls(t *testing.T) {
	leavesNothing(t)
	id := name(t, "")
	start(t, id, "--user 1000 --sysctl net.ipv4.ip_forward=0 --sysctl net.core.somaxconn=77 "+
		"--sysctl net.ipv4.conf.all.log_martians=1", serve("low port")) // port 80, as nobody in particular
	eventually(t, "low port", "curl -sS -m 5 http://"+address(t, id)+"/")
	out := must(t, in(id, "cd /proc/sys/net; cat ipv4/ip_unprivileged_port_start ipv4/ip_forward core/somaxconn ipv4/conf/all/log_martians"))
	if got := strings.Fields(out); strings.Join(got, " ") != "0 0 77 1" {
		t.Errorf("sysctls: %v", got)
	}
}

func TestSysctlsOfAnInterface(t *testing.T) {
	leavesNothing(t)
	id := name(t, "")
	start(t, id, "--network name=bridge,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1", idle)
	if out := must(t, in(id, "cat /proc/sys/net/ipv4/conf/eth0/log_martians")); out != "1" {
		t.Errorf("log_martians of eth0: %s", out)
	}
}

// A namespace that something else than a task has made, as a CNI plugin does.
func TestNamespaceByPath(t *testing.T) {
	leavesNothing(t)
	must(t, `ip netns add pod && ip link add pod0 type veth peer name eth0 netns pod && ip addr add 10.203.0.1/24 dev pod0 &&
		ip link set pod0 up && ip -n pod link set lo up && ip -n pod addr add 10.203.0.2/24 dev eth0 && ip -n pod link set eth0 up &&
		ip -n pod route add default via 10.203.0.1`)
	defer must(t, "ip netns del pod; ip link del pod0 2>/dev/null; true")
	out := must(t, "ctr run --rm "+runtime()+"--with-ns network:/run/netns/pod "+shared.Image("busybox")+" pod sh -c 'ip -o link; ip -o addr; ip route; ping -c 1 -w 10 10.203.0.1'")
	for _, want := range []string{"10.203.0.2/24", "default via 10.203.0.1", "1 packets received"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if out := must(t, "ip -n pod -o link"); strings.Contains(out, "offl-") {
		t.Errorf("left in the namespace: %s", out)
	}
}

// A macvlan network has its containers on a wire of the DPU, each with an address of its own there: here a wire to a
// machine that is a namespace of the DPU.
func TestMacvlan(t *testing.T) {
	leavesNothing(t)
	must(t, `ip netns add lan && ip link add wire type veth peer name eth0 netns lan && ip link set wire up && ip -n lan link set lo up &&
		ip -n lan link set eth0 up && ip -n lan addr add 10.204.0.1/24 dev eth0 && ip -n lan addr add fd00:204::1/64 dev eth0 nodad`)
	t.Cleanup(func() { mustIn(t, shared.DPU, "ip netns del lan; ip link del wire 2>/dev/null; true") })
	net := network(t, "-d macvlan -o parent=wire --ipv6 --subnet 10.204.0.0/24 --gateway 10.204.0.1 --subnet fd00:204::/64 --gateway fd00:204::1")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net, serve("on the wire"))
	start(t, client, "--network "+net, idle)
	eventually(t, "on the wire", "ip netns exec lan curl -sS -m 5 http://"+address(t, web)+"/")
	eventually(t, "on the wire", in(client, get(web)))
	must(t, in(client, "ping -c 1 -w 10 10.204.0.1 && ping -6 -c 1 -w 10 fd00:204::1 && ip route | grep -q default.via.10.204.0.1"))
	// The wire knows the container by the address that it sees itself.
	mac := must(t, in(web, "cat /sys/class/net/eth0/address"))
	if out := must(t, "ip -n lan neigh"); !strings.Contains(out, mac) {
		t.Errorf("%s is not among the neighbours: %s", mac, out)
	}
	// One more network, while it runs.
	must(t, "docker network connect bridge "+web)
	eventually(t, "on the wire", in(client, "true")+"; curl -sS -m 5 http://$(docker inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' "+web+")/")
}

// runtime is how ctr is told where to run a container.
func runtime() string {
	if lab.AskedKind() == lab.Stock {
		return ""
	}
	return "--runtime io.containerd.offload.v1 --snapshotter offload "
}
