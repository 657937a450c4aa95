// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

const byteExact = unnoticed + "; what streams through a container and what is copied into one arrives whole"

// linkFaults happen to the link.
func linkFaults() []*fault {
	const group = "The link"
	both := func(f lab.Flaws) [2]lab.Flaws { return [2]lab.Flaws{f, f} }
	var all []*fault
	for _, c := range []struct {
		name  string
		flaws [2]lab.Flaws // towards the HOST, and towards the DPU
		least time.Duration
		size  int64
		short bool
	}{
		{"cut for 1 s", both(lab.Flaws{Cut: true}), time.Second, 48 << 20, true},
		{"cut for 10 s", both(lab.Flaws{Cut: true}), 10 * time.Second, 48 << 20, false},
		{"cut for 60 s", both(lab.Flaws{Cut: true}), time.Minute, 48 << 20, false},
		{"cut towards the HOST only", [2]lab.Flaws{{Cut: true}, {}}, 15 * time.Second, 48 << 20, false},
		{"cut towards the DPU only", [2]lab.Flaws{{}, {Cut: true}}, 15 * time.Second, 48 << 20, false},
		{"lose 1 %", both(lab.Flaws{Loss: 0.01}), 0, 8 << 20, true},
		{"lose 20 %", both(lab.Flaws{Loss: 0.2}), 0, 256 << 10, false},
		{"delay by 200 ms", both(lab.Flaws{Delay: 200 * time.Millisecond}), 0, 4 << 20, false},
		{"1 Mbit/s", both(lab.Flaws{Rate: 1e6}), 0, 1 << 20, false},
		{"corrupt 1 %", both(lab.Flaws{Corrupt: 0.01}), 0, 8 << 20, true},
		{"lose and corrupt 2 %, delay by 50 ms", both(lab.Flaws{Loss: 0.02, Corrupt: 0.02, Delay: 50 * time.Millisecond}), 0, 1 << 20, false},
	} {
		all = append(all, &fault{
			group: group, name: c.name, expect: byteExact, short: c.short,
			inject: func(ctx context.Context, s *scene) error {
				return s.unnoticed(ctx, false, badLink(c.flaws, c.least, c.size))
			},
		})
	}
	return append(all,
		&fault{
			group: group, name: "half-open", expect: byteExact, short: true,
			inject: func(ctx context.Context, s *scene) error { return s.unnoticed(ctx, false, halfOpen) },
		},
		&fault{
			group: group, name: "cut past resume_timeout", in: impatient,
			expect: "its containers are reported dead (137), and what is asked for meanwhile is refused with a reason; they can be started again; nothing is left on either side",
			inject: func(ctx context.Context, s *scene) error { return s.cutForGood(ctx) },
		},
	)
}

// badLink makes the link bad while data streams through a container and into one, for at least so long.
func badLink(flaws [2]lab.Flaws, least time.Duration, size int64) disturbance {
	return func(ctx context.Context, s *scene, victim *witness) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		streamed := make(chan error, 2)
		seed := s.dice.Uint64()
		begun := make(chan struct{})
		go func() { streamed <- s.stream(ctx, size, seed, begun) }()
		go func() { streamed <- s.copyIn(ctx, victim, size/2, seed+1) }()
		select {
		case <-begun:
		case <-ctx.Done():
		}
		lost, frames := s.Cable.Lost()
		s.Cable.Set(flaws[0], flaws[1])
		err := pause(ctx, s.draw("for at least", least, least+least/10))
		if flaws[0].Cut || flaws[1].Cut {
			s.Cable.Set(lab.Flaws{}, lab.Flaws{})
			s.over()
		}
		for range 2 {
			err = errors.Join(err, <-streamed)
		}
		s.Cable.Set(lab.Flaws{}, lab.Flaws{})
		lostNow, framesNow := s.Cable.Lost()
		s.tell("  lost %d of %d frames", lostNow-lost, framesNow-frames)
		return err
	}
}

// halfOpen lets the DPU see its connections end while the HOST goes on to hold them.
func halfOpen(ctx context.Context, s *scene, _ *witness) error {
	streamed, begun := make(chan error, 1), make(chan struct{})
	seed := s.dice.Uint64()
	go func() { streamed <- s.stream(ctx, 48<<20, seed, begun) }()
	select {
	case <-begun:
	case <-ctx.Done():
		return <-streamed
	}
	// What the DPU sends is answered by a reset and does not reach the HOST.
	const reset = "nft add table inet half && nft 'add chain inet half out { type filter hook output priority 0; }' && " +
		"nft add rule inet half out oifname lab0 tcp dport 7600 reject with tcp reset"
	if _, err := s.on(ctx, s.DPU, reset); err != nil {
		return errors.Join(err, <-streamed)
	}
	err := pause(ctx, s.draw("half-open for", 2*time.Second, 6*time.Second))
	_, healErr := s.on(context.WithoutCancel(ctx), s.DPU, "nft delete table inet half")
	s.over()
	return errors.Join(err, healErr, <-streamed)
}

// noise is a stream of bytes that looks like chance and comes from a seed.
func noise(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

func noiseSum(seed uint64, size int64) (string, error) {
	h := sha256.New()
	if _, err := io.CopyN(h, noise(seed), size); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// stream sends so many bytes through a container and back, and holds that they come back whole. It closes begun when a
// tenth has.
func (s *scene) stream(ctx context.Context, size int64, seed uint64, begun chan<- struct{}) error {
	want, err := noiseSum(seed, size)
	if err != nil {
		return err
	}
	got := &early{Writer: sha256.New(), at: size / 10, begun: begun}
	defer got.tell()
	command := s.DPU.Command(ctx, "docker", "run", "--rm", "-i", "--log-driver", "none", s.Image("busybox"), "cat")
	command.Stdin, command.Stdout = io.LimitReader(noise(seed), size), got
	if err := command.Run(); err != nil {
		return fmt.Errorf("stream through a container: after %d of %d bytes: %w", got.size, size, err)
	}
	if sum := hex.EncodeToString(got.Writer.(interface{ Sum([]byte) []byte }).Sum(nil)); sum != want {
		return fmt.Errorf("stream through a container: %d of %d bytes came back, or wrong ones", got.size, size)
	}
	return nil
}

// early tells when it has been given the first of its bytes.
type early struct {
	io.Writer
	size, at int64
	begun    chan<- struct{}
}

func (e *early) Write(data []byte) (int, error) {
	e.size += int64(len(data))
	if e.size >= e.at {
		e.tell()
	}
	return e.Writer.Write(data)
}

func (e *early) tell() {
	if e.begun != nil {
		close(e.begun)
		e.begun = nil
	}
}

// copyIn copies a file into a container by the HOST's files mounted on the DPU, and holds what the container then has.
func (s *scene) copyIn(ctx context.Context, w *witness, size int64, seed uint64) error {
	want, err := noiseSum(seed, size)
	if err != nil {
		return err
	}
	source := dataDir + "/" + w.name + "/copied"
	command := s.DPU.Command(ctx, "sh", "-c", "cat >"+source)
	command.Stdin = io.LimitReader(noise(seed), size)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("make a file: %w: %s", err, out)
	}
	if _, err := s.within(ctx, injectionTimeout, s.DPU, "docker", "cp", "-q", source, w.name+":/copied"); err != nil {
		return err
	}
	out, err := s.within(ctx, injectionTimeout, s.DPU, "docker", "exec", w.name, "sha256sum", "/copied", "/data/copied")
	if err != nil {
		return err
	}
	if expect := want + "  /copied\n" + want + "  /data/copied"; out != expect {
		return fmt.Errorf("copy a file into a container: %q, not %q", out, expect)
	}
	return nil
}

// cutForGood cuts the link for longer than it is waited for.
func (s *scene) cutForGood(ctx context.Context) error {
	again, err := s.dockerWitness(ctx, "--restart", "always")
	if err != nil {
		return err
	}
	once, err := s.dockerWitness(ctx)
	if err != nil {
		return err
	}
	byCtr, err := s.ctrWitness(ctx)
	if err != nil {
		return err
	}
	s.Cable.Set(lab.Flaws{Cut: true}, lab.Flaws{Cut: true})
	err = pause(ctx, s.draw("cut for", 2*impatience+10*time.Second, 3*impatience+10*time.Second))
	if err == nil {
		// Whoever asks for something meanwhile is told what is wrong.
		var f *failure
		if _, err := s.dpu(ctx, "docker", "run", "--rm", s.Image("busybox"), "true"); !errors.As(err, &f) || f.text == "" {
			return fmt.Errorf("docker run with the link cut: %w", err)
		}
		s.tell("  meanwhile: %s", cell(f.text))
	}
	s.Cable.Set(lab.Flaws{}, lab.Flaws{})
	s.over()
	if err != nil {
		return err
	}
	for _, w := range []*witness{again, once} {
		state, err := s.dpu(ctx, "docker", "inspect", "-f", "{{.State.Status}}", w.name)
		if err != nil || state != "exited" {
			return errors.Join(fmt.Errorf("%s is %q, not exited", w.name, state), err)
		}
	}
	if code, err := s.dpu(ctx, "docker", "inspect", "-f", "{{.State.ExitCode}}", once.name); err != nil || code != "137" {
		return errors.Join(fmt.Errorf("%s ended with %q, not 137", once.name, code), err)
	}
	if err := s.allWorks(ctx); err != nil {
		return err
	}
	// dockerd has tried to start the one again while the link was cut, once, as it does anywhere. Their user can.
	if _, err := s.dpu(ctx, "docker", "start", again.name, once.name); err != nil {
		return err
	}
	for _, w := range []*witness{again, once, byCtr} {
		if err := w.remove(ctx); err != nil {
			return err
		}
	}
	return nil
}

// identityChanged fails as long as a witness is the one that it was, or does not run.
func (w *witness) identityChanged(ctx context.Context) error {
	now, err := w.identity(ctx)
	if err == nil && (now == w.born || now[:min(8, len(now))] != "running ") {
		err = fmt.Errorf("%s is %q and was %q", w.name, now, w.born)
	}
	return err
}
