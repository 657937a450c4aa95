// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config reads the two configuration files: the DPU's
// (/etc/offload/dpu.toml) and the HOST's (/etc/offload/host.toml).
//
// What lives here: one struct per file, its defaults, the rules its values
// must keep, and what a value means to the link and to the log. Reading is
// strict: a key that is not known, a value of the wrong type and a value out of
// range are all errors, which name file, line, column and key, and say what is
// allowed. docs/configuration.md lists every key.
//
// It may import udsbridge/link and udsbridge/bridge/policy. It starts nothing and opens nothing but the
// files it is told to read and the certificates these name, and only to read.
package config
