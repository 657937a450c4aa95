// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// Schemes of addresses.
const (
	SchemeTCP   = "tcp"
	SchemeVsock = "vsock"
	SchemeUnix  = "unix"
)

// AnyCID as an Address's CID listens on every context id of the machine.
const AnyCID = math.MaxUint32

// maxUnixPath is what fits into a socket address with its terminating zero.
const maxUnixPath = 107

// Address is where one end of a link listens. The zero value is no address.
type Address struct {
	Scheme string
	Host   string // tcp: name or IP address, empty for every address of the machine
	Port   uint32 // tcp: up to 65535; vsock
	CID    uint32 // vsock; AnyCID only to listen
	Path   string // unix: absolute
}

// ParseAddress parses tcp://HOST:PORT, vsock://CID:PORT (vsock://any:PORT or
// vsock://:PORT to listen on every context id) or unix:///PATH. The error names
// the part that is wrong.
func ParseAddress(s string) (Address, error) {
	a, err := parseAddress(s)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return a, nil
}

func parseAddress(s string) (Address, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Address{}, errors.New("no scheme; write tcp://HOST:PORT, vsock://CID:PORT or unix:///PATH")
	}
	switch scheme {
	case SchemeTCP:
		return parseTCP(rest)
	case SchemeVsock:
		return parseVsock(rest)
	case SchemeUnix:
		return parseUnix(rest)
	default:
		return Address{}, fmt.Errorf("unknown scheme %q, not tcp, vsock or unix", scheme)
	}
}

func parseTCP(rest string) (Address, error) {
	host, port, err := splitPort(rest, math.MaxUint16)
	if err != nil {
		return Address{}, err
	}
	if strings.ContainsAny(host, "/ @?#") {
		return Address{}, fmt.Errorf("host %q is neither a name nor an IP address", host)
	}
	return Address{Scheme: SchemeTCP, Host: host, Port: port}, nil
}

func parseVsock(rest string) (Address, error) {
	cid, port, err := splitPort(rest, AnyCID-1)
	if err != nil {
		return Address{}, err
	}
	if cid == "" || cid == "any" {
		return Address{Scheme: SchemeVsock, CID: AnyCID, Port: port}, nil
	}
	n, err := strconv.ParseUint(cid, 10, 32)
	if err != nil {
		return Address{}, fmt.Errorf("context id %q is not a number from 0 to %d", cid, uint32(AnyCID-1))
	}
	return Address{Scheme: SchemeVsock, CID: uint32(n), Port: port}, nil
}

func parseUnix(path string) (Address, error) {
	switch {
	case !filepath.IsAbs(path):
		return Address{}, fmt.Errorf("path %q is not absolute; write unix:///PATH", path)
	case len(path) > maxUnixPath:
		return Address{}, fmt.Errorf("path is %d bytes, more than the %d of a socket address", len(path), maxUnixPath)
	case strings.ContainsRune(path, 0):
		return Address{}, errors.New("path has a zero byte")
	case filepath.Clean(path) == "/":
		return Address{}, errors.New("path is the root directory")
	}
	return Address{Scheme: SchemeUnix, Path: filepath.Clean(path)}, nil
}

func splitPort(s string, highest uint32) (host string, port uint32, err error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		var detail *net.AddrError
		if errors.As(err, &detail) {
			return "", 0, errors.New(detail.Err)
		}
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > uint64(highest) {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to %d", text, highest)
	}
	return host, uint32(n), nil
}

// String returns the address as ParseAddress takes it.
func (a Address) String() string {
	switch a.Scheme {
	case SchemeVsock:
		cid := "any"
		if a.CID != AnyCID {
			cid = strconv.FormatUint(uint64(a.CID), 10)
		}
		return fmt.Sprintf("vsock://%s:%d", cid, a.Port)
	case SchemeUnix:
		return "unix://" + a.Path
	default:
		return a.Scheme + "://" + net.JoinHostPort(a.Host, strconv.FormatUint(uint64(a.Port), 10))
	}
}
