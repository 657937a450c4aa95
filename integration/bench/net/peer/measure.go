// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

// patience is how long an answer may take.
const patience = 5 * time.Second

func up(address string, n []int) (float64, error) {
	c, err := dial(address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	buf[0] = askSink
	start := time.Now()
	for time.Since(start) < time.Duration(n[0])*time.Second {
		if _, err := c.Write(buf); err != nil {
			return 0, err
		}
		buf[0] = 0
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return 0, err
	}
	var total [8]byte
	if _, err := io.ReadFull(c, total[:]); err != nil {
		return 0, err
	}
	return float64(binary.BigEndian.Uint64(total[:])) / time.Since(start).Seconds(), nil
}

func down(address string, n []int) (float64, error) {
	c, err := dial(address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := c.Write([]byte{askSource}); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := c.SetReadDeadline(start.Add(time.Duration(n[0]) * time.Second)); err != nil {
		return 0, err
	}
	total := 0
	buf := make([]byte, 256<<10)
	for {
		r, err := c.Read(buf)
		total += r
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return float64(total) / time.Since(start).Seconds(), nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func rtt(address string, n []int) (float64, error) {
	c, err := net.Dial("udp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	packet, answer := make([]byte, 64), make([]byte, 64)
	packet[0] = askEcho
	return median(n[0], func() error {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := c.Write(packet); err != nil {
			return err
		}
		_, err := c.Read(answer)
		return err
	})
}

func connect(address string, n []int) (float64, error) {
	return median(n[0], func() error {
		c, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte{askEcho, 1}); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	})
}

func median(count int, f func() error) (float64, error) {
	var took []float64
	for range count {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start).Seconds())
	}
	if len(took) == 0 {
		return 0, errors.New("nothing was measured")
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func rate(address string, n []int) (float64, error) {
	c, err := net.Dial("udp", address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := total(c); err != nil {
		return 0, err
	}
	packet := make([]byte, max(n[0], 1))
	packet[0] = askCount
	start := time.Now()
	for length := time.Duration(n[1]) * time.Second; time.Since(start) < length; {
		for range 64 {
			// A queue that is full is the sender's business.
			_, _ = c.Write(packet)
		}
	}
	length := time.Since(start)
	time.Sleep(200 * time.Millisecond) // for those on their way
	count, err := total(c)
	return float64(count) / length.Seconds(), err
}

// total asks the server what it has counted, until it answers.
func total(c net.Conn) (uint64, error) {
	var b [8]byte
	var err error
	for range 10 {
		if _, err = c.Write([]byte{askTotal}); err != nil {
			return 0, err
		}
		if err = c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return 0, err
		}
		if _, err = io.ReadFull(c, b[:]); err == nil {
			return binary.BigEndian.Uint64(b[:]), nil
		}
	}
	return 0, err
}
