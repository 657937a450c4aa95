// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flaws are what a cable does to the frames of one direction. The zero value is a good cable.
type Flaws struct {
	// Cut loses everything.
	Cut bool
	// Loss and Corrupt are the shares, from 0 to 1, of frames that are lost and in which one bit is turned over.
	Loss, Corrupt float64
	// Delay is how long a frame is under way.
	Delay time.Duration
	// Rate is how many bits a second pass; zero is as many as may be. What waits longer than half a second is lost, as
	// in a router with a buffer of that length.
	Rate int64
}

// longestQueue bounds what waits for its turn on a slow cable, in time.
const longestQueue = 500 * time.Millisecond

// verdict is what becomes of one frame.
type verdict struct {
	lost bool
	// flip is the bit to turn over, or -1.
	flip int
	// at is when the other end has it.
	at time.Time
	// free is when the cable can take the next one.
	free time.Time
}

// judge decides about a frame of so many bytes that is sent now on a cable that is free at free. The two dice are from
// 0 up to 1.
func (f Flaws) judge(now, free time.Time, size int, lossDie, corruptDie float64, bit int) verdict {
	v := verdict{flip: -1, at: now.Add(f.Delay), free: free}
	if f.Cut || lossDie < f.Loss {
		v.lost = true
		return v
	}
	if f.Rate > 0 {
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > longestQueue {
			v.lost = true
			return v
		}
		v.free = free.Add(time.Duration(int64(size) * 8 * int64(time.Second) / f.Rate))
		v.at = v.free.Add(f.Delay)
	}
	if corruptDie < f.Corrupt && size > 0 {
		v.flip = bit % (size * 8)
	}
	return v
}

// Cable joins the two environments of a lab through this process, which can do to it what happens to cables. It needs
// nothing of the kernel but TAP devices.
type Cable struct {
	host, dpu       *os.File
	toHost, toDPU   *way
	closing, closed sync.WaitGroup
	quit            chan struct{}
}

// way is one direction of a cable.
type way struct {
	mu    sync.Mutex
	flaws Flaws
	dice  *rand.Rand
	free  time.Time
	// Frames counts what was taken in, Lost what of it was lost on purpose.
	frames, lost uint64
	queue        chan timed
}

// timed is a frame on its way.
type timed struct {
	frame []byte
	at    time.Time
}

const (
	maxFrame    = 65536
	queueFrames = 4096
)

// newCable makes the two ends. Whether a frame is lost or damaged is a matter of the seed and of the frames before it.
func newCable(host, dpu *Env, seed uint64) (_ *Cable, err error) {
	c := &Cable{quit: make(chan struct{}), toHost: newWay(seed), toDPU: newWay(seed + 1)}
	if c.host, err = host.openTap(); err != nil {
		return nil, err
	}
	if c.dpu, err = dpu.openTap(); err != nil {
		c.host.Close()
		return nil, err
	}
	c.run(c.host, c.dpu, c.toDPU)
	c.run(c.dpu, c.host, c.toHost)
	return c, nil
}

func newWay(seed uint64) *way {
	return &way{dice: rand.New(rand.NewPCG(seed, 0)), queue: make(chan timed, queueFrames)}
}

// openTap makes the environment's end of the cable. The device is gone when the file is closed.
func (e *Env) openTap() (file *os.File, err error) {
	err = e.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open TAP device: %w", err)
		}
		request, err := unix.NewIfreq(linkName)
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("name TAP device: %w", err)
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			unix.Close(fd)
			return fmt.Errorf("make TAP device: %w", err)
		}
		file = os.NewFile(uintptr(fd), linkName)
		return nil
	})
	return file, err
}

// run carries frames one way: one goroutine takes them in and judges, the other delivers them in time.
func (c *Cable) run(from io.Reader, to io.Writer, w *way) {
	c.closing.Add(1)
	go func() {
		defer c.closing.Done()
		w.takeIn(from)
	}()
	c.closed.Add(1)
	go func() {
		defer c.closed.Done()
		w.deliver(to, c.quit)
	}()
}

func (w *way) takeIn(from io.Reader) {
	buffer := make([]byte, maxFrame)
	for {
		n, err := from.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			// An end that is down; it may come up again.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		w.mu.Lock()
		v := w.flaws.judge(time.Now(), w.free, n, w.dice.Float64(), w.dice.Float64(), w.dice.IntN(maxFrame*8))
		w.frames++
		w.free = v.free
		if v.lost {
			w.lost++
		}
		w.mu.Unlock()
		if v.lost {
			continue
		}
		frame := append([]byte(nil), buffer[:n]...)
		if v.flip >= 0 {
			frame[v.flip/8] ^= 1 << (v.flip % 8)
		}
		select {
		case w.queue <- timed{frame, v.at}:
		default: // As a full buffer anywhere.
		}
	}
}

func (w *way) deliver(to io.Writer, quit <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-quit:
			return
		case t := <-w.queue:
			if wait := time.Until(t.at); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-quit:
					return
				}
			}
			// An end that is down loses it.
			_, _ = to.Write(t.frame)
		}
	}
}

// Set makes the cable good or bad, towards each side on its own.
func (c *Cable) Set(toHost, toDPU Flaws) {
	for w, flaws := range map[*way]Flaws{c.toHost: toHost, c.toDPU: toDPU} {
		w.mu.Lock()
		w.flaws, w.free = flaws, time.Time{}
		w.mu.Unlock()
	}
}

// Lost is how many of how many frames were lost on purpose, both ways together, since the cable was made.
func (c *Cable) Lost() (lost, frames uint64) {
	for _, w := range []*way{c.toHost, c.toDPU} {
		w.mu.Lock()
		lost, frames = lost+w.lost, frames+w.frames
		w.mu.Unlock()
	}
	return lost, frames
}

// close removes both ends.
func (c *Cable) close() {
	close(c.quit)
	c.host.Close()
	c.dpu.Close()
	c.closing.Wait()
	c.closed.Wait()
}

// layCable replaces the direct link of two environments by a cable.
func (l *Lab) layCable(seed uint64) (err error) {
	err = l.Host.inNetwork(func(h *netlink.Handle) error {
		link, err := h.LinkByName(linkName)
		if err != nil {
			return fmt.Errorf("find link of %s: %w", l.Host.name, err)
		}
		return h.LinkDel(link)
	})
	if err != nil {
		return fmt.Errorf("lay cable: %w", err)
	}
	if l.Cable, err = newCable(l.Host, l.DPU, seed); err != nil {
		return fmt.Errorf("lay cable: %w", err)
	}
	for address, e := range map[string]*Env{HostAddress: l.Host, DPUAddress: l.DPU} {
		if err := e.raiseLink(address); err != nil {
			return err
		}
	}
	return nil
}
