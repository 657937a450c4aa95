// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/container-offload/offload/integration/lab"
)

const backToNormal = "all of it works; memory, descriptors, threads, goroutines and mounts are back where they were"

// loadFaults are more of everything than usual.
func loadFaults() []*fault {
	const group = "Load"
	return []*fault{
		{group: group, name: "200 containers", expect: backToNormal, steady: true, inject: manyContainers},
		{group: group, name: "1,000 execs", expect: backToNormal, steady: true, inject: manyExecs},
		{
			group: group, name: "events that nobody reads", steady: true,
			expect: "300 execs work meanwhile; " + backToNormal, inject: unreadEvents,
		},
		{
			group: group, name: "40 containers, and each daemon killed in turn",
			expect: "all of them run on, each as the same process, and can be entered", inject: killedUnderMany,
		},
		{group: group, name: "starts for a minute", expect: backToNormal, steady: true, inject: manyStarts},
		{
			group: group, name: "output that nobody reads", steady: true,
			expect: "the container waits; its shims take no more memory; the others go on; it can be killed and removed",
			inject: unread,
		},
		{
			group: group, name: "output at full speed", steady: true,
			expect: "the shims take no more memory; the others go on", inject: fullSpeed,
		},
	}
}

// workersAtOnce is how many commands of a load run at once.
const workersAtOnce = 4

// errEnough ends what is done at once: nothing more is begun, and what was begun is awaited. A client that is ended
// between create and start leaves a container.
var errEnough = errors.New("enough")

// atOnce does something so many times, a few at once, and returns the first error.
func atOnce(ctx context.Context, times int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		all  sync.WaitGroup
		next atomic.Int64
		mu   sync.Mutex
		errs []error
	)
	for range workersAtOnce {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= times || ctx.Err() != nil {
					return
				}
				err := do(ctx, i)
				if errors.Is(err, errEnough) {
					return
				}
				if err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					cancel()
				}
			}
		})
	}
	all.Wait()
	if len(errs) > 0 {
		return errs[0] // those after it were cut short
	}
	return nil
}

func manyContainers(ctx context.Context, s *scene) error {
	const count = 200
	names := make([]string, count)
	for i := range names {
		names[i] = s.name("many")
	}
	begun := time.Now()
	err := atOnce(ctx, count, func(ctx context.Context, i int) error {
		_, err := s.dpu(ctx, "docker", "run", "-d", "--name", names[i], "--network", "none", s.Image("busybox"), "sleep", "100000")
		return err
	})
	if err == nil {
		s.note("%d containers started in %.0f s", count, time.Since(begun).Seconds())
		err = atOnce(ctx, 20, func(ctx context.Context, _ int) error {
			_, err := s.dpu(ctx, "docker", "exec", names[count-1], "true")
			return err
		})
	}
	if err == nil {
		var out string
		if out, err = s.dpu(ctx, "docker", "ps", "-q"); err == nil && len(strings.Fields(out)) != count {
			err = fmt.Errorf("%d containers run, not %d", len(strings.Fields(out)), count)
		}
	}
	_, rmErr := s.within(ctx, injectionTimeout, s.DPU, append([]string{"docker", "rm", "-f"}, names...)...)
	s.over()
	return errors.Join(err, rmErr, s.allWorks(ctx))
}

func manyExecs(ctx context.Context, s *scene) error { return s.execs(ctx, 1000) }

// execs enters a witness so many times.
func (s *scene) execs(ctx context.Context, count int) error {
	w, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	err = atOnce(ctx, count, func(ctx context.Context, i int) error {
		out, err := s.dpu(ctx, "docker", "exec", w.name, "echo", strconv.Itoa(i))
		if err == nil && out != strconv.Itoa(i) {
			err = fmt.Errorf("exec %d says %q", i, out)
		}
		return err
	})
	s.note("%d execs in %.0f s", count, time.Since(begun).Seconds())
	s.over()
	return errors.Join(err, w.goesOn(ctx), s.allWorks(ctx), w.ends(ctx, false))
}

// unreadEvents has dockerd tell of a thousand things to a client that is frozen.
func unreadEvents(ctx context.Context, s *scene) error {
	client := s.DPU.Command(context.WithoutCancel(ctx), "docker", "events")
	client.Stdout, client.WaitDelay = io.Discard, time.Second
	if err := client.Start(); err != nil {
		return err
	}
	err := client.Process.Signal(unix.SIGSTOP)
	if err == nil {
		err = s.execs(ctx, 300)
	}
	_ = client.Process.Kill()
	_ = client.Wait() // it was killed: its status is no news
	return err
}

// killedUnderMany kills one daemon after the other while many containers run.
func killedUnderMany(ctx context.Context, s *scene) error {
	const count = 40
	names := make([]string, count)
	for i := range names {
		names[i] = s.name("many")
	}
	err := atOnce(ctx, count, func(ctx context.Context, i int) error {
		_, err := s.dpu(ctx, "docker", "run", "-d", "--name", names[i], "--network", "none", s.Image("busybox"), "sleep", "100000")
		return err
	})
	identities := append([]string{"docker", "inspect", "-f", "{{.Name}} {{.State.Status}} {{.State.Pid}} {{.State.StartedAt}}"}, names...)
	var born string
	if err == nil {
		born, err = s.dpu(ctx, identities...)
	}
	for _, t := range []target{offloadHost, offloadDPU, containerd, dockerd} {
		if err == nil {
			err = killed(t)(ctx, s, nil)
		}
		if err != nil {
			break
		}
		err = s.eventually(ctx, "all are the same after "+t.name+" was killed", func(ctx context.Context) error {
			now, err := s.dpu(ctx, identities...)
			if err == nil && now != born {
				err = fmt.Errorf("they are %q and were %q", now, born)
			}
			return err
		})
		if err == nil {
			err = s.eventually(ctx, "all can be entered after "+t.name+" was killed", func(ctx context.Context) error {
				return atOnce(ctx, count, func(ctx context.Context, i int) error {
					_, err := s.dpu(ctx, "docker", "exec", names[i], "true")
					return err
				})
			})
		}
	}
	s.over()
	_, rmErr := s.within(ctx, injectionTimeout, s.DPU, append([]string{"docker", "rm", "-f"}, names...)...)
	return errors.Join(err, rmErr, s.allWorks(ctx))
}

func manyStarts(ctx context.Context, s *scene) error {
	w, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	until := time.Now().Add(time.Minute)
	var done atomic.Int64
	err = atOnce(ctx, 1<<30, func(ctx context.Context, _ int) error {
		if time.Now().After(until) {
			return errEnough
		}
		out, err := s.dpu(ctx, "docker", "run", "--rm", "--network", "none", s.Image("busybox"), "echo", "ran")
		if err == nil && out != "ran" {
			err = fmt.Errorf("it said %q", out)
		}
		if err == nil {
			done.Add(1)
		}
		return err
	})
	s.note("%.1f starts a second", float64(done.Load())/60)
	s.over()
	return errors.Join(err, w.goesOn(ctx), s.allWorks(ctx), w.ends(ctx, false))
}

// mostShimMemory is what a half may take more than before because of output, in bytes.
const mostShimMemory = 32 << 20

// unread lets a container write as fast as it can to a client that is frozen.
func unread(ctx context.Context, s *scene) error {
	other, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	w := &witness{s: s, name: s.name("unread"), ctr: true}
	client := s.DPU.Command(context.WithoutCancel(ctx), s.CtrRun("--rm", s.Image("busybox"), w.name, "yes", "a line that nobody reads")...)
	client.Stdout, client.Stderr, client.WaitDelay = io.Discard, io.Discard, time.Second
	if err := client.Start(); err != nil {
		return err
	}
	err = s.eventually(ctx, "it writes", func(ctx context.Context) error { _, err := findHostHalf(ctx, s, w); return err })
	if err == nil {
		err = pause(ctx, time.Second)
	}
	if err == nil {
		err = client.Process.Signal(unix.SIGSTOP)
	}
	if err == nil {
		err = s.memoryStays(ctx, w, s.draw("nobody reads for", 10*time.Second, 20*time.Second))
	}
	err = errors.Join(err, other.goesOn(ctx))
	_, killErr := s.dpu(ctx, "ctr", "tasks", "kill", "-s", "KILL", w.name)
	s.over()
	err = errors.Join(err, killErr, client.Process.Signal(unix.SIGCONT))
	var ended sync.WaitGroup
	ended.Go(func() { _ = client.Wait() }) // it was killed: its status is no news
	timer := time.AfterFunc(patience, func() { _ = client.Process.Kill() })
	ended.Wait()
	if !timer.Stop() {
		err = errors.Join(err, errors.New("its client does not end"))
	}
	return errors.Join(err, s.allWorks(ctx), other.ends(ctx, false))
}

// memoryStays holds that the halves of a witness take no more memory as time passes.
func (s *scene) memoryStays(ctx context.Context, w *witness, d time.Duration) error {
	before, err := s.halvesMemory(ctx, w)
	if err != nil {
		return err
	}
	if err := pause(ctx, d); err != nil {
		return err
	}
	after, err := s.halvesMemory(ctx, w)
	if err == nil && after > before+mostShimMemory {
		err = fmt.Errorf("its halves took %d MiB and take %d MiB", before>>20, after>>20)
	}
	s.note("its halves take %d MiB", after>>20)
	return err
}

// halvesMemory is the memory of both halves of a witness's shim.
func (s *scene) halvesMemory(ctx context.Context, w *witness) (sum int64, err error) {
	near, err := findDPUHalf(ctx, s, w)
	if err != nil {
		return 0, err
	}
	far, err := findHostHalf(ctx, s, w)
	if err != nil {
		return 0, err
	}
	pids := append(near, far...)
	for _, list := range []func() ([]lab.ProcessInfo, error){s.DPU.Processes, s.Host.Processes} {
		all, err := list()
		if err != nil {
			return 0, err
		}
		for _, p := range all {
			for _, pid := range pids {
				if p.Pid == pid {
					sum += p.Memory
				}
			}
		}
	}
	return sum, nil
}

// fullSpeed lets a container write to dockerd's log as fast as it can.
func fullSpeed(ctx context.Context, s *scene) error {
	other, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	w := &witness{s: s, name: s.name("fast")}
	_, err = s.dpu(ctx, "docker", "run", "-d", "--name", w.name, "--log-driver", "local", "--log-opt", "max-size=1m",
		s.Image("busybox"), "yes", "a line of output")
	if err == nil {
		err = pause(ctx, 2*time.Second)
	}
	if err == nil {
		err = s.memoryStays(ctx, w, s.draw("write for", 8*time.Second, 16*time.Second))
	}
	err = errors.Join(err, other.goesOn(ctx))
	s.over()
	return errors.Join(err, w.remove(ctx), s.allWorks(ctx), other.ends(ctx, false))
}
