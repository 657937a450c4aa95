// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command peer makes and takes traffic for benchmarks and tests. It is one static file, so that it runs in any
// container.
//
//	peer serve PORT                  be the other end of the following; tls:PORT with TLS
//	peer up HOST:PORT SECONDS        print the bytes per second that the server takes by TCP
//	peer down HOST:PORT SECONDS      print the bytes per second that it sends by TCP
//	peer rtt HOST:PORT COUNT         print the median seconds of a round trip of 64 bytes by UDP
//	peer rate HOST:PORT SIZE SECONDS print the packets per second that arrive there by UDP
//	peer connect HOST:PORT COUNT     print the median seconds to connect, ask and be answered by TCP
//	peer load HOST:PORT N SECONDS    ask an HTTP server over N connections, print the answers per second
//
// up and down take tls:HOST:PORT too.
//
//	peer dns PORT NAME ADDRESS       answer DNS queries for one name
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: peer serve|up|down|rtt|rate|connect|load|dns and its arguments")
	}
	var numbers []int
	for _, a := range args[2:] {
		n, err := strconv.Atoi(a)
		if err != nil && args[0] != "dns" {
			return fmt.Errorf("argument %q: %w", a, err)
		}
		numbers = append(numbers, n)
	}
	measure := map[string]struct {
		arguments int
		f         func(string, []int) (float64, error)
	}{"up": {1, up}, "down": {1, down}, "rtt": {1, rtt}, "rate": {2, rate}, "connect": {1, connect}, "load": {2, load}}
	switch m, ok := measure[args[0]]; {
	case args[0] == "serve":
		return serve(args[1])
	case args[0] == "dns" && len(args) == 4:
		return serveDNS(args[1], args[2], args[3])
	case ok && len(numbers) == m.arguments:
		value, err := m.f(args[1], numbers)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		fmt.Println(value)
		return nil
	}
	return fmt.Errorf("%v: no such thing", args)
}
