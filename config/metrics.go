// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"strconv"
)

// Metrics says where a daemon gives out metrics.
type Metrics struct {
	// Listen is the address, ADDRESS:PORT, on which Prometheus may ask for
	// them; empty for nowhere.
	Listen string `toml:"listen"`
}

func (m Metrics) check(d *document) {
	if m.Listen == "" {
		return
	}
	_, port, err := net.SplitHostPort(m.Listen)
	if err != nil {
		d.report("metrics.listen", "%q is not an address such as \"127.0.0.1:9120\"", m.Listen)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		d.report("metrics.listen", "port %q is out of range, 1 to 65535", port)
	}
}
