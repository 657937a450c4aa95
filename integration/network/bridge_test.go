// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/container-offload/offload/integration/lab"
)

func TestDefaultBridge(t *testing.T) {
	leavesNothing(t)
	web, other := name(t, ""), name(t, "-other")
	start(t, web, "", serve("pages"))
	start(t, other, "", idle)
	ip := address(t, web)
	eventually(t, "pages", "curl -sS -m 5 http://"+ip+"/")
	eventually(t, "pages", in(other, get(ip)))
	must(t, in(other, "ping -c 1 -w 10 "+ip))
	must(t, in(other, "ping -c 1 -w 10 172.17.0.1")) // the DPU
	must(t, "ping -c 1 -w 10 "+ip)
	must(t, in(other, "ping -c 1 -w 10 -s 5000 "+ip))
	if out := must(t, in(web, "ip route")); !strings.Contains(out, "default via 172.17.0.1 dev eth0") {
		t.Errorf("routes: %s", out)
	}
}

func TestTheFirstInstructionHasTheNetwork(t *testing.T) {
	leavesNothing(t)
	for range 3 {
		out := must(t, "docker run --rm "+shared.Image("busybox")+` sh -c 'ip -o addr show eth0; ip route; cat /etc/hosts /etc/resolv.conf; ping -c 1 -w 5 172.17.0.1'`)
		for _, want := range []string{"inet 172.17.0.", "default via 172.17.0.1", "1 packets received", "# Overrides: []"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
	}
}

func TestPublishedPorts(t *testing.T) {
	leavesNothing(t)
	id := name(t, "")
	start(t, id, withPeer+"-p 8080:80 -p 127.0.0.1:8081:80 -p 80 -p 9000-9001:80-81 -p 5300:5300/udp", serve("published"))
	random := strings.Fields(must(t, "docker port "+id+" 80/tcp | grep 0.0.0.0 | grep -v -e :8080 -e :9000"))
	_, port, _ := strings.Cut(random[len(random)-1], ":")
	for _, at := range []string{"127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:9000", "127.0.0.1:" + port, lab.DPUAddress + ":8080"} {
		if lab.AskedKind() == lab.Stock && strings.HasPrefix(at, lab.DPUAddress) {
			continue // there is no such address
		}
		eventually(t, "published", "curl -sS -m 5 http://"+at+"/")
	}
	must(t, "docker exec -d "+id+" /peer dns 5300 datagram.example 192.0.2.9")
	eventually(t, "c0000209", ask("datagram.example", 5300))
}

// The DPU is where the wire is: another machine, here the HOST's own system, reaches a published port there.
func TestPublishedPortsFromOutside(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	start(t, name(t, ""), "-p 8080:80", serve("outside"))
	eventuallyIn(t, shared.Host, "outside", "curl -sS -m 5 http://"+lab.DPUAddress+":8080/")
	if out := mustIn(t, shared.Host, "ip -o link; ss -ltn 2>/dev/null || true"); strings.Contains(out, "docker0") || strings.Contains(out, ":8080") {
		t.Errorf("on the HOST: %s", out)
	}
}

func TestNames(t *testing.T) {
	leavesNothing(t)
	net := network(t, "")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net+" --network-alias www --hostname portal", serve("named"))
	start(t, client, "--network "+net, idle)
	for _, host := range []string{web, "www", must(t, "docker inspect -f '{{slice .Id 0 12}}' "+web)} {
		eventually(t, "named", in(client, get(host)))
	}
	if out := must(t, in(client, "nslookup www")); !strings.Contains(out, address(t, web)) || !strings.Contains(out, "127.0.0.11") {
		t.Errorf("nslookup: %s", out)
	}
	fails(t, in(client, "nslookup nobody.is.called.so"))
	if out := must(t, in(client, "cat /etc/resolv.conf")); !strings.Contains(out, "nameserver 127.0.0.11") {
		t.Errorf("resolv.conf: %s", out)
	}
	// The container's own DNS server has the port to itself.
	must(t, "docker exec -d "+client+" nc -l -p 53 -e echo own")
	eventually(t, "own", in(web, "nc -w 3 "+client+" 53"))
}

// A server that dockerd's DNS server asks, with an address that a container has too.
func TestQuestionsForOthers(t *testing.T) {
	leavesNothing(t)
	net := network(t, "")
	upstream, client := name(t, "-upstream"), name(t, "-client")
	start(t, upstream, withPeer+"--network "+net, "/peer dns 53 elsewhere.example 192.0.2.7")
	start(t, client, "--network "+net+" --dns "+address(t, upstream), idle)
	eventually(t, "192.0.2.7", in(client, "nslookup -type=a elsewhere.example"))
	must(t, in(client, "ping -c 1 -w 10 "+upstream))
}

func TestConnectAndDisconnect(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--subnet 10.201.0.0/24")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net, serve("connected"))
	start(t, client, "", idle)
	fails(t, in(client, "ip addr show eth1"))
	must(t, "docker network connect --alias late --ip 10.201.0.77 "+net+" "+client)
	eventually(t, "10.201.0.77/24", in(client, "ip addr show eth1"))
	eventually(t, "connected", in(client, get(web)))
	eventually(t, "1 packets received", in(web, "ping -c 1 -w 5 late"))
	must(t, "docker network disconnect "+net+" "+client)
	eventually(t, "can't find device", in(client, "ip addr show eth1; true"))
	must(t, in(client, "ping -c 1 -w 10 172.17.0.1")) // the other one is untouched
	must(t, "docker network disconnect bridge "+client)
	eventually(t, "can't find device", in(client, "ip addr show eth0; true"))
	must(t, "docker network connect bridge "+client)
	eventually(t, "1 packets received", in(client, "ping -c 1 -w 5 172.17.0.1"))
}

// A container on two networks answers from the address that was asked, through the network that leads to who has asked,
// as one whose default gateway is on the other network does.
func TestAnswersThroughAnotherNetwork(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--subnet 10.208.0.0/24 -o com.docker.network.bridge.gateway_mode_ipv4=routed")
	id := name(t, "")
	start(t, id, "", idle)
	must(t, "docker network connect --ip 10.208.0.7 "+net+" "+id)
	eventually(t, "10.208.0.7/24", in(id, "ip addr show eth1"))
	eventually(t, "1 packets received", in(id, "ping -c 1 -w 5 -I 10.208.0.7 172.17.0.1"))
	must(t, "docker network disconnect "+net+" "+id)
	eventually(t, "can't find device", in(id, "ip addr show eth1; true"))
	must(t, in(id, "ping -c 1 -w 10 172.17.0.1"))
}

func TestGivenAddresses(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--subnet 10.202.0.0/24 --gateway 10.202.0.254")
	id := name(t, "")
	start(t, id, "--network "+net+" --ip 10.202.0.5 --mac-address 02:aa:bb:cc:dd:ee", idle)
	out := must(t, in(id, "ip addr show eth0; ip route"))
	for _, want := range []string{"10.202.0.5/24", "02:aa:bb:cc:dd:ee", "default via 10.202.0.254"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	must(t, in(id, "ping -c 1 -w 10 10.202.0.254"))
}

func TestInternal(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--internal")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net, serve("inside"))
	start(t, client, "--network "+net, idle)
	eventually(t, "inside", in(client, get(web)))
	if out := must(t, in(client, "ip route")); strings.Contains(out, "default") {
		t.Errorf("routes: %s", out)
	}
	fails(t, in(client, "ping -c 1 -w 1 "+lab.HostAddress))
}

func TestIPv6(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--ipv6 --subnet fd00:cafe::/64")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net+" --ip6 fd00:cafe::77 -p 8106:80 -p [::1]:8107:80", serve("six"))
	start(t, client, "--network "+net, idle)
	for _, at := range []string{"[fd00:cafe::77]", "[::1]:8106", "[::1]:8107", "127.0.0.1:8106"} {
		eventually(t, "six", "curl -sS -m 5 http://"+at+"/")
	}
	must(t, in(client, "ping -6 -c 1 -w 10 fd00:cafe::77"))
	must(t, in(client, "ping -6 -c 1 -w 10 "+web))
	must(t, in(client, "ping -c 1 -w 10 "+web))
	must(t, "ping -6 -c 1 -w 10 fd00:cafe::77")
	if out := must(t, in(client, "ip -6 route")); !strings.Contains(out, "default via fd00:cafe::1") {
		t.Errorf("routes: %s", out)
	}
	// Without IPv6 there is no trace of it.
	plain := name(t, "-plain")
	start(t, plain, "", idle)
	if out := must(t, in(plain, "ip -6 addr show eth0")); strings.Contains(out, "inet6") {
		t.Errorf("addresses: %s", out)
	}
}

// A network without IPv4: names, the address that ends in the network's, a published port.
func TestIPv6Only(t *testing.T) {
	leavesNothing(t)
	net := network(t, "--ipv4=false --ipv6 --subnet fd00:beef::/64")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net+" -p 8108:80", serve("only six"))
	start(t, client, "--network "+net, idle)
	eventually(t, "only six", "curl -sS -m 5 http://[::1]:8108/")
	eventually(t, "only six", in(client, get(web)))
	if out := must(t, in(client, "ip -o -4 addr show eth0; ip route")); out != "" {
		t.Errorf("of IPv4 there is: %s", out)
	}
}

func TestContainersKeptApart(t *testing.T) {
	leavesNothing(t)
	net := network(t, "-o com.docker.network.bridge.enable_icc=false")
	web, client := name(t, "-web"), name(t, "-client")
	start(t, web, "--network "+net, serve("apart"))
	start(t, client, "--network "+net, idle)
	eventually(t, "apart", "curl -sS -m 5 http://"+address(t, web)+"/")
	must(t, in(client, "ping -c 1 -w 10 "+lab.DPUAddress))
	fails(t, in(client, "ping -c 1 -W 1 -w 1 "+address(t, web)))
}

func TestLinks(t *testing.T) {
	leavesNothing(t)
	web := name(t, "")
	start(t, web, "", serve("linked"))
	must(t, "docker run --rm --link "+web+":other "+shared.Image("busybox")+" ping -c 1 -w 10 other")
}

func TestMTU(t *testing.T) {
	leavesNothing(t)
	net := network(t, "-o com.docker.network.driver.mtu=1400")
	a, b := name(t, "-a"), name(t, "-b")
	start(t, a, "--network "+net, idle)
	start(t, b, "--network "+net, idle)
	if out := must(t, in(a, "ip link show eth0")); !strings.Contains(out, "mtu 1400") {
		t.Errorf("link: %s", out)
	}
	must(t, in(a, "ping -c 1 -w 10 -s 9000 "+b))
}

// Containers on one network, all of which reach all by name. OFFLOAD_LAB_MANY says how many: 100 take their time.
func TestManyOnOneNetwork(t *testing.T) {
	leavesNothing(t)
	n := 6
	if many := os.Getenv("OFFLOAD_LAB_MANY"); many != "" {
		var err error
		if n, err = strconv.Atoi(many); err != nil {
			t.Fatal(err)
		}
	}
	net := network(t, "")
	for i := range n {
		start(t, fmt.Sprintf("%s-%d", net, i), "--network "+net, idle)
	}
	for i := range n {
		script := fmt.Sprintf(`k=0; while [ $k -lt %d ]; do ping -q -c 1 -w 10 %s-$k >/dev/null || { echo not $k; exit 1; }; k=$((k+1)); done`, n, net)
		must(t, in(fmt.Sprintf("%s-%d", net, i), script))
	}
}
