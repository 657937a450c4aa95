// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/network/dpu"
	"github.com/container-offload/offload/network/netns"
	"github.com/container-offload/offload/udsbridge/session"
)

func TestTwinLooksLikeItsOriginal(t *testing.T) { eachCarrier(t, twinLooksLikeItsOriginal) }

func twinLooksLikeItsOriginal(t *testing.T, r *rig) {
	c := r.container("web")
	r.run(c.shadow, `ip link set eth0 mtu 1400 && ip route add 192.0.2.0/24 via 10.9.0.1 metric 7 && ip route add blackhole 198.51.100.0/24 &&
		ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent && echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_ignore`)
	r.join(c, false)
	for _, look := range []string{
		"ip -br link show eth0 | awk '{print $1,$3}' | sed 's/@[^ ]*//'",
		"cat /sys/class/net/eth0/mtu || ip link show eth0 | grep -o 'mtu [0-9]*'",
		"ip -o addr show dev eth0 scope global | awk '{print $3,$4}'",
		"ip -4 route | sed 's/ proto [a-z]*//; s/ linkdown//'",
		"ip -6 route show default",
		"ip neigh show nud permanent | sort",
		"cat /proc/sys/net/ipv4/conf/eth0/arp_ignore",
	} {
		if strings.Contains(look, "/sys/class") {
			look = "ip link show eth0 | grep -o 'mtu [0-9]*'" // sysfs shows the mounter's namespace
		}
		require.Equal(t, r.run(c.shadow, look), r.run(c.twin, look), look)
	}
}

func TestFramesCross(t *testing.T) { eachCarrier(t, framesCross) }

func eachCarrier(t *testing.T, test func(*testing.T, *rig)) {
	t.Run("tunnel", func(t *testing.T) { test(t, newRig(t)) })
	t.Run("vxlan", func(t *testing.T) { test(t, newVXLANRig(t)) })
}

func framesCross(_ *testing.T, r *rig) {
	a, b := r.container("a"), r.container("b")
	r.join(a, false)
	r.join(b, false)
	for _, script := range []string{"ping -c1 -W5 10.9.0.1", "ping -c1 -W5 10.9.0.3", "ping -c1 -W5 fd09::1", "ping -c1 -W5 fd09::3", "ping -c1 -W5 -s 20000 10.9.0.3"} {
		r.eventually(a.twin, script)
	}
	r.eventually(r.bridge, "ping -c1 -W5 10.9.0.2 && ping -c1 -W5 fd09::2")
}

// sendFrame writes a frame as the container's side could, whatever its kernel says.
func sendFrame(t *testing.T, ns *os.File, frame []byte) {
	t.Helper()
	require.NoError(t, netns.Do(ns, func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index, Halen: 6, Protocol: 0x0608})
	}))
}

func TestAnotherSenderIsDropped(t *testing.T) { eachCarrier(t, anotherSenderIsDropped) }

func anotherSenderIsDropped(t *testing.T, r *rig) {
	a := r.container("a")
	r.join(a, false)
	r.eventually(a.twin, "ping -c1 -W5 10.9.0.1")
	mac := strings.TrimSpace(r.run(a.twin, "ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2"))
	own, err := net.ParseMAC(mac)
	require.NoError(t, err)

	// A gratuitous ARP answer for the gateway's address, and for an own one.
	arp := func(src net.HardwareAddr, ip ...byte) []byte {
		b := append([]byte{255, 255, 255, 255, 255, 255}, src...)
		b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2)
		b = append(append(b, src...), ip...)
		return append(append(b, 255, 255, 255, 255, 255, 255), ip...)
	}
	r.run(r.bridge, "sysctl -qw net.ipv4.conf.br0.arp_accept=1")
	other := net.HardwareAddr{2, 0, 0, 0, 0, 0x66}
	sendFrame(t, a.twin, arp(own, 10, 9, 0, 99))  // not an address of the container
	sendFrame(t, a.twin, arp(other, 10, 9, 0, 2)) // not its MAC
	r.run(a.twin, "ip addr add 10.9.0.98/24 dev eth0")
	_, err = try(a.twin, "ping -c1 -W1 -I 10.9.0.98 10.9.0.1")
	require.Error(t, err, "an address that the DPU has not given")
	r.eventually(a.twin, "ping -c1 -W5 -I 10.9.0.2 10.9.0.1") // came after all of those
	table := r.run(r.bridge, "ip neigh; bridge fdb show br br0")
	require.NotContains(t, table, "10.9.0.99 ")
	require.NotContains(t, table, "10.9.0.98 ")
	require.NotContains(t, table, other.String())
}

func TestInterfacesComeAndGo(t *testing.T) { eachCarrier(t, interfacesComeAndGo) }

func interfacesComeAndGo(_ *testing.T, r *rig) {
	a := r.container("a")
	r.join(a, false)
	r.plug(a, "eth1", "10.10.0.7/24")
	r.run(r.bridge, "ip addr add 10.10.0.1/24 dev br0")
	r.eventually(a.twin, "ip -o addr show dev eth1 | grep -q 10.10.0.7 && ping -c1 -W5 -I eth1 10.10.0.1")
	r.run(a.shadow, "ip addr add 10.9.0.200/24 dev eth0 && ip route add 203.0.113.0/24 via 10.9.0.1")
	r.eventually(a.twin, "ip -o addr show dev eth0 | grep -q 10.9.0.200 && ip route | grep -q 203.0.113 && ping -c1 -W5 -I 10.9.0.200 10.9.0.1")
	r.run(a.shadow, "ip addr del 10.9.0.200/24 dev eth0 && ip route del 203.0.113.0/24")
	r.eventually(a.twin, "! ip -o addr show dev eth0 | grep -q 10.9.0.200 && ! ip route | grep -q 203.0.113")
	r.run(a.shadow, "ip link set eth1 arp off")
	r.eventually(a.twin, "ip link show eth1 | grep -q NOARP")
	r.run(a.shadow, "ip link set eth1 arp on")
	r.eventually(a.twin, "! ip link show eth1 | grep -q NOARP")
	r.run(a.shadow, "ip link del eth1")
	r.eventually(a.twin, "! ip link show eth1 2>/dev/null")
	r.eventually(a.shadow, "test $(ip -o link | grep -c offl-) = 1")
	r.eventually(a.twin, "ping -c1 -W5 10.9.0.1")
}

func TestAnAddressOfTheContainerIsTakenOverIfItMay(t *testing.T) {
	r := newRig(t)
	a := r.container("a")
	r.join(a, true)
	r.run(a.twin, "ip addr add 10.9.0.98/24 dev eth0")
	r.eventually(a.shadow, "ip -o addr show dev eth0 | grep -q 10.9.0.98")
	r.eventually(a.twin, "ping -c1 -W1 -I 10.9.0.98 10.9.0.1")
	r.run(a.twin, "ip addr del 10.9.0.98/24 dev eth0")
	r.eventually(a.shadow, "! ip -o addr show dev eth0 | grep -q 10.9.0.98")
	r.run(a.twin, "ip link set eth0 address 02:00:00:00:09:09")
	r.eventually(a.shadow, "ip link show eth0 | grep -q 02:00:00:00:09:09")
	r.eventually(a.twin, "ping -c1 -W1 10.9.0.1")
}

// What dockerd's DNS server asks from inside the namespace, with the address
// that is the container's too, is answered to it and not to the container.
func TestASocketOfTheDPUGetsItsAnswers(t *testing.T) {
	r := newRig(t)
	a := r.container("a")
	r.join(a, false)
	echo := listen(t, r.bridge, "10.9.0.1:5353")
	for _, network := range []string{"udp", "tcp"} {
		for _, ns := range []*os.File{a.shadow, a.twin, a.shadow} {
			require.Equal(t, "10.9.0.2", echo(ns, network))
		}
	}
}

// listen answers, over UDP and TCP, with the address of whoever asks, and
// returns what asks.
func listen(t *testing.T, ns *os.File, address string) func(from *os.File, network string) string {
	t.Helper()
	require.NoError(t, netns.Do(ns, func() error {
		u, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { u.Close(); l.Close() })
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(from.String())
				_, _ = u.WriteTo([]byte(host), from)
			}
		}()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				_, _ = c.Write([]byte(host))
				c.Close()
			}
		}()
		return nil
	}))
	return func(from *os.File, network string) string {
		var out string
		require.NoError(t, netns.Do(from, func() error {
			c, err := net.DialTimeout(network, address, 10*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if network == "udp" {
				_, _ = c.Write([]byte("?"))
			}
			b := make([]byte, 100)
			n, err := c.Read(b)
			out = string(b[:n])
			return err
		}))
		return out
	}
}

func TestTheResolverAnswersInTheTwin(t *testing.T) {
	r := newRig(t)
	a := r.container("a")
	// As dockerd does: a server on some port, and rules that lead there.
	echo := listen(t, a.shadow, "127.0.0.11:4053")
	r.run(a.shadow, `nft add table ip t && nft 'add chain ip t o { type nat hook output priority -100; }' &&
		nft add rule ip t o ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:4053 &&
		nft add rule ip t o ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:4053`)
	_ = echo
	r.join(a, false)
	own := listen(t, a.twin, "0.0.0.0:53") // the container's own server is in nobody's way
	require.NotEmpty(t, own)
	for _, network := range []string{"udp", "tcp"} {
		require.NoError(t, netns.Do(a.twin, func() error {
			c, err := net.DialTimeout(network, "127.0.0.11:53", 10*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if network == "udp" {
				_, _ = c.Write([]byte("?"))
			}
			b := make([]byte, 100)
			n, err := c.Read(b)
			require.Regexp(t, `^127\.0\.0\.`, string(b[:n]), network)
			return err
		}))
	}
}

func TestClosingLeavesNothing(t *testing.T) { eachCarrier(t, closingLeavesNothing) }

func closingLeavesNothing(t *testing.T, r *rig) {
	a := r.container("a")
	before := r.run(a.shadow, "ip -o link | wc -l; tc filter show dev eth0 ingress; tc qdisc show dev eth0")
	r.join(a, false)
	r.eventually(a.twin, "ping -c1 -W5 10.9.0.1")
	a.network.Close()
	require.Equal(t, before, r.run(a.shadow, "ip -o link | wc -l; tc filter show dev eth0 ingress; tc qdisc show dev eth0"))
	r.eventually(a.twin, "! ip link show eth0 2>/dev/null")
	r.join(a, false)
	r.eventually(a.twin, "ping -c1 -W5 10.9.0.1")
}

func TestTheEndOfTheSessionLeavesNothing(t *testing.T) {
	eachCarrier(t, theEndOfTheSessionLeavesNothing)
}

func theEndOfTheSessionLeavesNothing(_ *testing.T, r *rig) {
	a := r.container("a")
	r.join(a, false)
	r.sess.Close()
	r.eventually(a.twin, "! ip link show eth0 2>/dev/null")
}

func TestABareNamespaceCostsNothing(t *testing.T) {
	r := newRig(t)
	c := &container{name: "none", shadow: newNS(t), twin: newNS(t)}
	r.run(c.shadow, "ip link set lo up")
	r.containers["none"] = c
	r.join(c, false)
	require.Zero(t, r.sess.Stats().Streams)
}

func TestWhatTheHostCantMakeIsAnError(t *testing.T) {
	r := newRig(t)
	a := r.container("a")
	r.run(a.twin, "ip link add eth0 type bridge")
	ns, err := reopen(a.shadow)
	require.NoError(t, err)
	_, err = dpu.Join(t.Context(), dpu.Options{
		Name: a.name, NS: ns, Carrier: r.carrier, Logger: r.log,
		Open: func(ctx context.Context, header []byte) (net.Conn, error) { return r.sess.Open(ctx, services, header) },
	})
	require.ErrorContains(t, err, `join network a: on the HOST: add interface eth0: make tap device eth0`)
	require.NotContains(t, r.run(a.shadow, "ip link"), "offl-")
}

// Whatever made the HOST drop a twin, it is made anew, again and again.
func TestALostTwinIsMadeAnew(t *testing.T) {
	r := newRig(t)
	a := r.container("a")
	r.join(a, false)
	opened := func() []*session.Stream {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.controls
	}
	for n := range 3 {
		require.Eventually(t, func() bool { return len(opened()) == n+1 }, 30*time.Second, 10*time.Millisecond, "twin %d", n)
		r.eventually(a.twin, "ping -c1 -W1 10.9.0.1")
		opened()[n].Close()
	}
	require.Eventually(t, func() bool { return len(opened()) == 4 }, 30*time.Second, 10*time.Millisecond)
	r.eventually(a.twin, "ping -c1 -W1 10.9.0.1")
	require.Equal(t, "1", strings.TrimSpace(r.run(a.shadow, "ip -o link | grep -c offl-")))
}
