// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package images builds the container images that the lab and the suites run, from Debian packages, as OCI layouts on
// disk: there is no registry to pull from where these run.
//
//	busybox       a shell and the usual tools, one static program; one gzip layer
//	busybox-zstd  the same content in one zstd layer
//	redis         a real server with the libraries it needs, on busybox
//	layers        everything that is hard about layers: gzip, zstd and plain ones, whiteouts, opaque directories, hard
//	              links, extended attributes, device nodes, sparse files, owners, set-user-ID
//
// The same packages give the same bytes: entries are sorted and carry no time of the build.
//
// May import the standard library and go-containerregistry. Never runs or installs anything on the machine, apart from
// downloading packages into a directory that it removes, and listing busybox's applets.
package images
