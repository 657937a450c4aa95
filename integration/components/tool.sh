#!/usr/bin/env bash
# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: tool.sh DIR PACKAGE VERSION
#
# Builds a Go tool at a pinned version into DIR/NAME-VERSION, unless it is there.
set -euo pipefail

dir=$(mkdir -p "$1" && cd "$1" && pwd)
target=$dir/$(basename "$2")-$3
[ -x "$target" ] && exit 0
work=$(mktemp -d "$dir/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Outside of this module: its go.mod has no say in how the tool is built.
(cd "$work" && GOFLAGS='' GOWORK=off GOBIN=$work CGO_ENABLED=0 go install "$2@$3" 2>&1 | grep -v '^go: downloading' >&2 || true)
[ -x "$work/$(basename "$2")" ] || { echo "tool: cannot build $2@$3" >&2; exit 1; }
mv "$work/$(basename "$2")" "$target"
