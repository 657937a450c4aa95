// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// options say how much is done.
type options struct {
	udsbridge string
	cuts      int           // how often the link is cut
	streams   int           // how many connections are open
	down, up  time.Duration // how long the link is cut, and about how long it is not
	out       io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o := options{out: os.Stdout}
	flag.StringVar(&o.udsbridge, "udsbridge", "build/bin/udsbridge", "the program")
	flag.IntVar(&o.cuts, "cuts", 100, "how often the link is cut")
	flag.IntVar(&o.streams, "streams", 8, "how many connections carry bytes")
	flag.DurationVar(&o.down, "down", time.Minute, "how long the link is cut each time")
	flag.DurationVar(&o.up, "up", 5*time.Second, "about how long it is not")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}
