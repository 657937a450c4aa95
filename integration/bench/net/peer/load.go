// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// loadPatience is how long an answer under load may take, whatever happens to the link meanwhile.
const loadPatience = 30 * time.Second

// load asks an HTTP server for its first page over n[0] connections at once, each of them again and again for n[1]
// seconds, and returns how many answers there were in a second. A connection that is lost before the server says that
// it closes it, and any answer other than the first one, is an error.
func load(address string, n []int) (float64, error) {
	var answers atomic.Uint64
	errs := make([]error, n[0])
	start := time.Now()
	until := start.Add(time.Duration(n[1]) * time.Second)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			if err := askUntil(address, until, &answers); err != nil {
				errs[i] = fmt.Errorf("connection %d after %s: %w", i, time.Since(start).Round(time.Millisecond), err)
			}
		})
	}
	wg.Wait()
	return float64(answers.Load()) / time.Since(start).Seconds(), errors.Join(errs...)
}

// askUntil asks over one connection at a time. It takes another only when the server has said that it closes one.
func askUntil(address string, until time.Time, answers *atomic.Uint64) error {
	first := ""
	for time.Now().Before(until) {
		c, err := net.DialTimeout("tcp", address, loadPatience)
		if err != nil {
			return err
		}
		err = askOn(c, address, until, &first, answers)
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// askOn asks over a connection until the time is up or the server closes it.
func askOn(c net.Conn, host string, until time.Time, first *string, answers *atomic.Uint64) error {
	r := bufio.NewReader(c)
	for last := false; !last && time.Now().Before(until); answers.Add(1) {
		if err := c.SetDeadline(time.Now().Add(loadPatience)); err != nil {
			return err
		}
		var body string
		var err error
		if body, last, err = askOnce(c, r, host); err != nil {
			return err
		}
		if *first == "" {
			*first = body
		}
		if body != *first || body == "" {
			return fmt.Errorf("an answer of %d bytes is other than the first of %d", len(body), len(*first))
		}
	}
	return nil
}

// askOnce returns the page, and whether the server closes the connection after it.
func askOnce(c net.Conn, r *bufio.Reader, host string) (body string, last bool, err error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		return "", false, err
	}
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", false, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(b), answer.Close, err
}
