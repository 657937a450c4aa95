#!/usr/bin/env bash
# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: build.sh OUTDIR
#
# Builds the pinned containerd, runc, dockerd and docker CLI with its plugins through the Go module proxy into OUTDIR/bin. What is there
# in the right version is left alone: OUTDIR/stamps has one file per binary, named and filled after how it was built.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=versions.sh
. "$here/versions.sh"
[ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin
mkdir -p "$out/bin" "$out/stamps"

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'chmod -R u+w "$work" 2>/dev/null || true; rm -rf "$work"' EXIT

# module_source MODULE@VERSION prints a writable copy of the module's source with a go.mod that `go build` accepts.
# A copy, because a module with replace directives, or none of its own go.mod, cannot be built with `go install`.
module_source() {
  local dir cached
  dir=$work/$(printf '%s' "$1" | tr '/@+' '___')
  if [ ! -d "$dir" ]; then
    cached=$(cd "$work" && GOFLAGS=-mod=mod go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    [ -n "$cached" ] || { echo "components: cannot download $1" >&2; return 1; }
    cp -r "$cached" "$dir"
    chmod -R u+w "$dir"
    # The docker CLI keeps its module file under another name.
    if [ ! -f "$dir/go.mod" ] || [ -f "$dir/vendor.mod" ]; then
      cp "$dir/vendor.mod" "$dir/go.mod"
      cp "$dir/vendor.sum" "$dir/go.sum"
    fi
  fi
  printf '%s\n' "$dir"
}

# build NAME MODULE@VERSION PACKAGE CGO TAGS LDFLAGS builds one binary unless its stamp says that it is there.
build() {
  local name=$1 module=$2 package=$3 cgo=$4 tags=$5 ldflags=$6 recipe dir start
  recipe="$module $package cgo=$cgo tags=$tags ldflags=$ldflags $(go env GOARCH)"
  if [ -x "$out/bin/$name" ] && [ "$(cat "$out/stamps/$name" 2>/dev/null)" = "$recipe" ]; then
    return
  fi
  start=$SECONDS
  dir=$(module_source "$module")
  (
    cd "$dir"
    # Someone else's flags and workspace must not leak into a pinned build.
    GOFLAGS='' GOWORK=off CGO_ENABLED=$cgo \
      go build -mod=mod -trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w $ldflags" -o "$out/bin/$name.new" "$package"
  )
  mv "$out/bin/$name.new" "$out/bin/$name"
  printf '%s\n' "$recipe" >"$out/stamps/$name"
  echo "components: $name from $module in $((SECONDS - start)) s"
}

# docker_init extracts Debian's static tini as docker-init.
docker_init() {
  local recipe="debian $TINI_PACKAGE $(go env GOARCH)"
  if [ -x "$out/bin/docker-init" ] && [ "$(cat "$out/stamps/docker-init" 2>/dev/null)" = "$recipe" ]; then
    return
  fi
  mkdir "$work/tini"
  (cd "$work/tini" && apt-get -qq -o APT::Sandbox::User=root download "$TINI_PACKAGE" && dpkg-deb -x ./*.deb tree)
  install -m 0755 "$(find "$work/tini/tree" -type f -name tini-static)" "$out/bin/docker-init"
  printf '%s\n' "$recipe" >"$out/stamps/docker-init"
  echo "components: docker-init from Debian's $TINI_PACKAGE"
}

plain_version() { local v=${1##*@v}; printf '%s' "${v%%+*}"; }

static_tags="netgo osusergo static_build"
containerd_ld="-X github.com/containerd/containerd/v2/version.Version=v$(plain_version "$CONTAINERD")"
moby_ld="-X github.com/moby/moby/v2/dockerversion.Version=$(plain_version "$MOBY") -X github.com/moby/moby/v2/dockerversion.GitCommit=module"
cli_ld="-X github.com/docker/cli/cli/version.Version=$(plain_version "$DOCKER_CLI") -X github.com/docker/cli/cli/version.GitCommit=module"

build runc "$RUNC" . 1 "seccomp $static_tags" "-extldflags -static"
build containerd "$CONTAINERD" ./cmd/containerd 0 "$static_tags" "$containerd_ld"
build containerd-shim-runc-v2 "$CONTAINERD" ./cmd/containerd-shim-runc-v2 0 "$static_tags" "$containerd_ld"
build ctr "$CONTAINERD" ./cmd/ctr 0 "$static_tags" "$containerd_ld"
build dockerd "$MOBY" ./cmd/dockerd 0 "$static_tags" "$moby_ld"
build docker-proxy "$MOBY" ./cmd/docker-proxy 0 "$static_tags" "$moby_ld"
build docker "$DOCKER_CLI" ./cmd/docker 0 "$static_tags" "$cli_ld"
build docker-buildx "$BUILDX" ./cmd/buildx 0 "$static_tags" "-X github.com/docker/buildx/version.Version=v$(plain_version "$BUILDX")"
build docker-compose "$COMPOSE" ./cmd 0 "$static_tags" "-X github.com/docker/compose/v5/internal.Version=v$(plain_version "$COMPOSE")"
docker_init
