// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Package differ is the DPU's side of unpacking and making layers: a containerd
// applier and comparer for snapshots that are on the HOST.
//
// A layer crosses the link once, compressed as it is: Apply reads it from
// containerd's content store and streams it to the HOST, which unpacks it as it
// arrives; Compare streams the layer the HOST makes into the content store.
// Nothing of a layer goes through the DPU's mount of the HOST's tree.
//
// Mounts that are not of the HOST's snapshots, and media types it does not
// know, are errdefs.ErrNotImplemented, upon which containerd asks the next
// differ. Once the HOST has been asked, no error is of that kind.
//
// The HOST is not trusted: what it says about a layer it sends is checked
// against the layer. What it says about a layer it was sent is for containerd to
// compare with the image's configuration, as with any applier.
//
// It may import plugins/wire and containerd. It never mounts anything.
package differ
