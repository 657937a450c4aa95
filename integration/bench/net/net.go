// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package net

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/container-offload/offload/integration/bench"
	"github.com/container-offload/offload/integration/lab"
)

// Options say what to measure.
type Options struct {
	// Build is the build directory.
	Build string
	// Peer is the file of the program of package peer.
	Peer string
	// Runs is how often each figure is taken; zero means 3.
	Runs int
	// Seconds is how long each measurement of throughput takes; zero means 2.
	Seconds int
	// Progress is told what is going on.
	Progress io.Writer
}

// What is compared.
const (
	stock = "stock docker bridge"
	raw   = "the link itself"
	// What the tunnel's bytes travel in.
	protected = "a TLS stream on the link"
)

// place is from where traffic goes and where to, in one lab.
type place struct {
	name string
	run  func(ctx context.Context, args string) (string, error) // runs the program at the near end
	far  string                                                 // address of the far end
}

// side is one lab with its places.
type side struct {
	lab                          *lab.Lab
	inward, across, link, secure place
}

// Run measures everything. The machine should be idle.
func Run(ctx context.Context, o Options) (_ bench.Report, err error) {
	if o.Runs == 0 {
		o.Runs = 3
	}
	if o.Seconds == 0 {
		o.Seconds = 2
	}
	report := bench.Report{Machine: bench.Machine(runtime.NumCPU())}
	var sides []*side
	for _, l := range []struct {
		kind    lab.Kind
		carrier string
	}{{lab.Offload, "tunnel"}, {lab.Offload, "vxlan"}, {lab.Stock, ""}} {
		o.say("a lab: %s %s", l.kind, l.carrier)
		s, err := o.open(ctx, l.kind, l.carrier)
		if err != nil {
			return report, err
		}
		defer func() { err = errors.Join(err, s.lab.Close()) }()
		sides = append(sides, s)
	}
	report.Rows, err = o.measure(ctx, sides[0], sides[1], sides[2])
	return report, err
}

// figure is a kind of measurement.
type figure struct {
	name, args, unit, better string
}

func (o Options) figures() (throughput, latency []figure) {
	seconds := strconv.Itoa(o.Seconds)
	return []figure{
			{"TCP in", "up FAR " + seconds, "B/s", bench.Higher},
			{"TCP out", "down FAR " + seconds, "B/s", bench.Higher},
			{"UDP packets of 64 B", "rate FAR 64 " + seconds, "/s", bench.Higher},
			{"UDP packets of 1400 B", "rate FAR 1400 " + seconds, "/s", bench.Higher},
		}, []figure{
			{"UDP round trip", "rtt FAR 2000", "s", bench.Lower},
			{"TCP connect and ask", "connect FAR 300", "s", bench.Lower},
		}
}

// row is one comparison.
type row struct {
	figure
	ours, peers place
	peer        string
	goal        float64
}

func (o Options) measure(ctx context.Context, tunnel, vxlan, plain *side) ([]bench.Row, error) {
	throughput, latency := o.figures()
	var rows []row
	for _, f := range throughput[:2] {
		rows = append(rows, row{f, tunnel.inward, tunnel.secure, protected, 0.7})
	}
	for _, f := range throughput {
		rows = append(rows, row{f, tunnel.inward, tunnel.link, raw, 0.7}, row{f, tunnel.inward, plain.inward, stock, 0.5})
	}
	rows = append(rows, row{throughput[0], tunnel.across, plain.across, stock, 0.5})
	for _, f := range latency {
		// A round trip through the tunnel takes the link's own and at most half as much again, and what the
		// bridge takes.
		rows = append(rows, row{f, tunnel.inward, tunnel.link, raw, 2.5}, row{f, tunnel.inward, plain.inward, stock, 2.5})
	}
	for _, f := range throughput[:2] {
		rows = append(rows, row{f, vxlan.inward, vxlan.link, raw, 0.9})
	}
	rows = append(rows, row{latency[0], vxlan.inward, vxlan.link, raw, 2.5})
	var out []bench.Row
	for _, r := range rows {
		o.say("%s, %s, against %s", r.name, r.ours.name, r.peer)
		values := [2][]float64{}
		for range o.Runs {
			for i, p := range []place{r.ours, r.peers} {
				v, err := p.value(ctx, r.args)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", r.name, p.name, err)
				}
				values[i] = append(values[i], v)
			}
		}
		out = append(out, bench.NewRow(r.name+", "+r.ours.name, r.peer, r.unit, bench.Quantile(values[0], 0.5),
			bench.Quantile(values[1], 0.5), r.goal, r.better, o.Runs))
	}
	return out, nil
}

func (p place) value(ctx context.Context, args string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := p.run(ctx, strings.Replace(args, "FAR", p.far, 1))
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(out), 64)
}

// Where the program is, and the ports it serves on.
const (
	program    = "/root/peer"
	port       = "5201"
	securePort = "5202"
)

// open puts a lab up with two containers in it, the far ends, and the program at all ends.
func (o Options) open(ctx context.Context, kind lab.Kind, carrier string) (_ *side, err error) {
	options := lab.Options{Kind: kind, Build: o.Build}
	if kind == lab.Offload {
		options.DPUConfig = fmt.Sprintf("\n[network]\ncarrier = %q\n", carrier)
		options.HostConfig = options.DPUConfig
	}
	l, err := lab.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	s := &side{lab: l}
	for _, env := range []*lab.Env{l.DPU, l.Host} {
		if err := env.CopyIn(o.Peer, program); err != nil {
			return nil, err
		}
		if err := env.Do(func() error { return os.Chmod(program, 0o755) }); err != nil {
			return nil, err
		}
	}
	out, err := l.DPU.Shell(ctx, fmt.Sprintf(`set -e
		docker pull -q %[1]s >/dev/null
		docker network create %[4]s bench >/dev/null
		for name in server client; do
			docker run -d --name $name --network bench -v %[2]s:/peer:ro %[1]s sh -c 'cp /peer /tmp/peer && exec /tmp/peer serve %[3]s' >/dev/null
		done
		docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' server`, l.Image("busybox"), program, port, fit(carrier))).Output()
	if err != nil {
		return nil, fmt.Errorf("start containers: %w", err)
	}
	far := strings.TrimSpace(string(out)) + ":" + port
	label := carrier
	if label == "" {
		label = "stock"
	}
	s.inward = place{"DPU to container, " + label, onDPU(l, program), far}
	s.across = place{"container to container, " + label, onDPU(l, "docker exec client /tmp/peer"), far}
	s.link = place{"DPU to HOST, " + label, onDPU(l, program), lab.HostAddress + ":" + port}
	s.secure = place{"DPU to HOST, " + label, onDPU(l, program), "tls:" + lab.HostAddress + ":" + securePort}
	if kind == lab.Offload {
		// The far ends of the link itself. They end with the lab.
		serve := "nohup " + program + " serve %s >/dev/null 2>&1 &"
		if err := l.Host.Shell(ctx, fmt.Sprintf(serve+serve, port, "tls:"+securePort)).Run(); err != nil {
			return nil, fmt.Errorf("serve on the HOST: %w", err)
		}
	}
	for _, p := range []place{s.inward, s.across} {
		if err := p.await(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// fit makes room in the link's packets for what a carrier adds, as docs/network.md advises.
func fit(carrier string) string {
	if carrier == "vxlan" {
		return "-o com.docker.network.driver.mtu=1450"
	}
	return ""
}

func onDPU(l *lab.Lab, command string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, args string) (string, error) {
		out, err := l.DPU.Shell(ctx, command+" "+args).Output()
		return string(out), err
	}
}

// await waits until the far end answers.
func (p place) await(ctx context.Context) error {
	var err error
	for range 100 {
		if _, err = p.value(ctx, "connect FAR 1"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", args...)
	}
}
