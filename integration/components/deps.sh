#!/usr/bin/env bash
# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages that the build and the lab need, and those that the arguments name in the form below, and
# only those that are missing.
set -euo pipefail

# What is needed, as PACKAGE:FILE; the file tells whether something else already provides it.
needs=(
  ca-certificates:/etc/ssl/certs/ca-certificates.crt
  gcc:/usr/bin/gcc
  git:/usr/bin/git
  iproute2:/usr/sbin/ip
  iptables:/usr/sbin/iptables
  iputils-ping:/usr/bin/ping
  kmod:/usr/sbin/modprobe
  libc6-dev:/usr/include/stdio.h
  libseccomp-dev:/usr/include/seccomp.h
  make:/usr/bin/make
  mount:/usr/bin/mount
  nftables:/usr/sbin/nft
  pkg-config:/usr/bin/pkg-config
  procps:/usr/bin/ps
  systemd:/usr/lib/systemd/systemd-journald
  util-linux:/usr/bin/nsenter
  xz-utils:/usr/bin/xz
  "$@"
)

missing=()
for need in "${needs[@]}"; do
  [ -e "${need#*:}" ] || missing+=("${need%%:*}")
done

if [ "${#missing[@]}" -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "deps: this machine has no apt-get; install by hand: ${missing[*]}" >&2
    exit 1
  fi
  echo "deps: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  # A machine may list sources that are unreachable and not needed: only a failed install counts.
  apt-get update -qq >"$log" 2>&1 </dev/null || true
  if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    echo "deps: cannot install ${missing[*]}" >&2
    exit 1
  fi
fi

# The image build looks packages up, which needs lists no older than a day or so.
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -2 -print -quit 2>/dev/null)" ]; then
  apt-get update -qq >/dev/null 2>&1 </dev/null || true
fi

go=$(command -v go || true)
[ -n "$go" ] || { [ -x /usr/local/go/bin/go ] && go=/usr/local/go/bin/go; } || true
if [ -z "$go" ]; then
  echo "deps: no Go toolchain: put Go 1.26 or newer in PATH or in /usr/local/go" >&2
  exit 1
fi
version=$("$go" env GOVERSION)
case "$version" in
  go1.2[6-9]* | go1.[3-9][0-9]* | devel*) ;;
  *)
    echo "deps: $go is $version, and 1.26 or newer is needed" >&2
    exit 1
    ;;
esac
