// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"time"
)

// tlsPrefix before an address asks for TLS, as the link has it.
const tlsPrefix = "tls:"

// dial connects by TCP, or by TLS over it. Nobody is identified: what is measured is the cost of the bytes.
func dial(address string) (net.Conn, error) {
	if secure, ok := strings.CutPrefix(address, tlsPrefix); ok {
		return tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	}
	return net.Dial("tcp", address)
}

// listen is dial's counterpart.
func listen(port string) (net.Listener, error) {
	secure, ok := strings.CutPrefix(port, tlsPrefix)
	if !ok {
		return net.Listen("tcp", ":"+port)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", ":"+secure, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
	})
}
