// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificate authority and the certificates of both ends
// of a link, and reads them.
//
// A certificate says which end its holder is by a URI: offload://host or
// offload://dpu. Host names play no part: a machine may have any address.
//
// It imports no other package of this module and never opens a connection.
package pki
