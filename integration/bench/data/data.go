// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/container-offload/offload/integration/bench"
	"github.com/container-offload/offload/integration/lab"
)

// Options say what to measure.
type Options struct {
	// Build is the build directory.
	Build string
	// Runs is how often each workload is timed on each side; zero means 5.
	Runs int
	// Progress is told what is going on.
	Progress io.Writer
}

const peer = "stock local"

// workload is a shell script on the DPU.
type workload struct {
	name string
	// before is run before each measurement, and not timed.
	before string
	script string
	// bytes is what a run moves, and makes the row one of throughput.
	bytes float64
	goal  float64
}

const mib = 1 << 20

// workloads are measured in this order.
var workloads = []workload{
	{name: "256 MiB out of docker run", bytes: 256 * mib, goal: 0.9,
		script: "docker run --rm --network none busybox head -c 268435456 /dev/zero >/dev/null"},
	{name: "256 MiB into docker run -i", bytes: 256 * mib, goal: 0.9,
		script: "head -c 268435456 /dev/zero | docker run --rm -i --network none busybox sh -c 'cat >/dev/null'"},
	{name: "32 MiB of docker logs", bytes: 32 * mib, goal: 0.9, script: "docker logs logs >/dev/null"},
	{name: "docker cp of 256 MiB, out", goal: 1.2, script: "docker cp bench:/big - >/dev/null"},
	{name: "docker cp of 256 MiB, in", goal: 1.2, script: "docker cp /srv/data/big bench:/in"},
	{name: "docker cp of 2,000 files, out", goal: 1.2, script: "docker cp bench:/tree - >/dev/null"},
	{name: "docker cp of 2,000 files, in", goal: 1.2,
		before: "docker exec bench rm -rf /files", script: "docker cp /srv/data/tree bench:/files"},
	{name: "docker pull of 10 layers, 80 MiB", goal: 1, before: "docker image rm -f $IMAGE:one", script: "docker pull -q $IMAGE:one"},
	{name: "docker pull, 9 of 10 layers there", goal: 1, before: "docker pull -q $IMAGE:one; docker image rm -f $IMAGE:two || true",
		script: "docker pull -q $IMAGE:two"},
	{name: "docker build", goal: 1.1, script: "docker build -q --no-cache /srv/data"},
	{name: "10 docker run --rm at once", goal: 1,
		script: "for i in $(seq 10); do docker run --rm --network none busybox true & done; wait"},
}

// setUp makes what the workloads need. Random bytes, so that compression does not make layers small.
const setUp = `set -eu
mkdir -p /srv/data/tree; cd /srv/data
head -c 268435456 /dev/urandom >big
for i in $(seq 2000); do echo "file $i" >tree/$i; done
printf 'FROM busybox\nCOPY tree /tree\nRUN md5sum /tree/* >/sums\nRUN cp -r /tree /copy\nRUN rm -r /tree\n' >Dockerfile
printf 'big\n' >.dockerignore
{ echo FROM busybox; for i in $(seq 9); do echo "RUN head -c 8388608 /dev/urandom >/layer$i"; done; } >nine
docker build -q -t nine - <nine
for last in one two; do
	printf 'FROM nine\nRUN head -c 8388608 /dev/urandom >/%s\n' $last | docker build -q -t $IMAGE:$last -
	docker push -q $IMAGE:$last
	docker image rm -f $IMAGE:$last
done
docker image rm -f nine; docker builder prune -af
docker run -d --name bench --network none busybox sleep 100000
docker cp big bench:/big; docker cp tree bench:/tree
docker run --name logs --network none busybox sh -c 'yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde | head -c 33554432' >/dev/null
`

// Run measures everything. The machine should be idle.
func Run(ctx context.Context, o Options) (report bench.Report, err error) {
	if o.Runs == 0 {
		o.Runs = 5
	}
	report.Machine = bench.Machine(runtime.NumCPU())
	var labs [2]*lab.Lab
	for i, kind := range []lab.Kind{lab.Offload, lab.Stock} {
		o.say("set up %s", kind)
		l, err := o.open(ctx, kind)
		if err != nil {
			return report, err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		labs[i] = l
	}
	for _, w := range workloads {
		o.say("%s, %d times each", w.name, o.Runs)
		took, err := o.measure(ctx, w, labs)
		if err != nil {
			return report, err
		}
		report.Rows = append(report.Rows, w.row(took, o.Runs))
	}
	return report, nil
}

// open puts a lab up in which the workloads can run.
func (o Options) open(ctx context.Context, kind lab.Kind) (*lab.Lab, error) {
	l, err := lab.Open(ctx, lab.Options{Kind: kind, Build: o.Build})
	if err != nil {
		return nil, err
	}
	pull := fmt.Sprintf("docker pull -q %[1]s && docker tag %[1]s busybox\n", l.Image("busybox"))
	if err := run(ctx, l, pull+setUp); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func run(ctx context.Context, l *lab.Lab, script string) error {
	script = "IMAGE=" + lab.RegistryAddress + "/layers\n" + script
	if out, err := l.DPU.Shell(ctx, script).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %s: %w: %s", l.Kind, script, err, out)
	}
	return nil
}

// measure interleaves the two systems, so that whatever else the machine does meets both.
func (o Options) measure(ctx context.Context, w workload, labs [2]*lab.Lab) (took [2][]float64, err error) {
	for turn := range 2 * (o.Runs + 1) {
		which := (turn + turn/2) % 2 // each side is the first to run every other time
		if w.before != "" {
			if err := run(ctx, labs[which], w.before); err != nil {
				return took, err
			}
		}
		start := time.Now()
		if err := run(ctx, labs[which], w.script); err != nil {
			return took, err
		}
		if turn >= 2 { // The first ones fill caches.
			took[which] = append(took[which], time.Since(start).Seconds())
		}
	}
	return took, nil
}

// row compares the medians.
func (w workload) row(took [2][]float64, runs int) bench.Row {
	ours, stock := bench.Quantile(took[0], 0.5), bench.Quantile(took[1], 0.5)
	if w.bytes > 0 {
		return bench.NewRow(w.name, peer, "B/s", w.bytes/ours, w.bytes/stock, w.goal, bench.Higher, runs)
	}
	return bench.NewRow(w.name, peer, "s", ours, stock, w.goal, bench.Lower, runs)
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", args...)
	}
}
