# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# The real components that the lab runs: MODULE@VERSION. A change here rebuilds exactly what changed.
CONTAINERD=github.com/containerd/containerd/v2@v2.4.2
RUNC=github.com/opencontainers/runc@v1.5.2
MOBY=github.com/moby/moby/v2@v2.0.0-beta.24
DOCKER_CLI=github.com/docker/cli@v29.9.2+incompatible
BUILDX=github.com/docker/buildx@v0.38.2
COMPOSE=github.com/docker/compose/v5@v5.6.0
TINI_PACKAGE=tini
