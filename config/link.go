// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"time"

	"github.com/container-offload/offload/udsbridge/link"
)

const (
	defaultResumeTimeout = Duration(5 * time.Minute)

	minResumeTimeout  = time.Second
	maxResumeTimeout  = 24 * time.Hour
	minConnectTimeout = 100 * time.Millisecond
	maxConnectTimeout = 5 * time.Minute
)

// Schemes of addresses.
const (
	tcp   = "tcp"
	vsock = "vsock"
)

func (c *DPU) checkLink(d *document) {
	l := c.Link
	d.secured(d.address("link.address", l.Address, "tcp://10.0.0.2:7400"), l.Insecure, l.TLS)
	l.TLS.check(d)
	d.between("link.connect_timeout", l.ConnectTimeout, minConnectTimeout, maxConnectTimeout)
	d.between("link.resume_timeout", l.ResumeTimeout, minResumeTimeout, maxResumeTimeout)
}

func (c *Host) checkLink(d *document) {
	l := c.Link
	scheme := d.address("link.listen", l.Listen, "tcp://0.0.0.0:7400")
	d.secured(scheme, l.Insecure, l.TLS)
	d.peer(scheme, l)
	l.TLS.check(d)
	d.between("link.resume_timeout", l.ResumeTimeout, minResumeTimeout, maxResumeTimeout)
}

// address reports an address that is not one and returns its scheme, or "".
func (d *document) address(key, address, example string) string {
	if address == "" && !d.has(key) {
		d.report(key, "missing; write an address such as %q", example)
		return ""
	}
	if _, err := link.ParseAddress(address); err != nil {
		d.report(key, "%v", err)
		return ""
	}
	scheme, _, _ := strings.Cut(address, "://")
	return scheme
}

// secured reports a link that would not be protected, and contradictions.
func (d *document) secured(scheme string, insecure bool, tls TLS) {
	switch {
	case scheme == "":
	case insecure && scheme != tcp:
		d.report("link.insecure", "is for tcp only; %s needs no such leave", scheme)
	case insecure && tls.Enabled():
		d.report("link.insecure", "is true although [link.tls] is given; keep one of them")
	case scheme == tcp && !insecure && !tls.Enabled() && !d.has("link.tls"):
		d.report("link.tls", "missing; tcp needs ca, cert and key, which \"offloadctl pki init\" makes, or link.insecure = true to do without protection")
	}
}

// Context ids of vsock that are no machine's.
const (
	cidHypervisor = 0
	cidAny        = 1<<32 - 1
)

// peer reports a vsock listener that would take anybody's connections.
func (d *document) peer(scheme string, l HostLink) {
	switch {
	case scheme == "":
	case scheme != vsock && d.has("link.peer_cid"):
		d.report("link.peer_cid", "is for vsock only, and link.listen is %s", scheme)
	case scheme == vsock && !d.has("link.peer_cid") && !l.TLS.Enabled():
		d.report("link.peer_cid", "missing; vsock needs the context id of the DPU, or [link.tls]")
	case d.has("link.peer_cid") && (l.PeerCID == cidHypervisor || l.PeerCID == cidAny):
		d.report("link.peer_cid", "%d is not the context id of a machine", l.PeerCID)
	}
}

// between reports a duration that is out of range.
func (d *document) between(key string, v Duration, low, high time.Duration) {
	if v.Duration() < low || v.Duration() > high {
		d.report(key, "%s is out of range, %s to %s", v, Duration(low), Duration(high))
	}
}
