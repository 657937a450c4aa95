#!/bin/bash
# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# install.sh BIN SIDE: lay the programs in BIN and what belongs to them out below $DESTDIR.
# SIDE is host, dpu or both. HELPERDIR is where mount(8) finds its helpers. PREFIX is /usr/local unless it is set; OFFLOADCTL names the
# offloadctl that writes the manual, for when those in BIN are of another architecture.
set -euo pipefail

bin=$1
side=${2:-both}
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
offloadctl=${OFFLOADCTL:-$bin/offloadctl}
source=$(cd "$(dirname "$0")/.." && pwd)

programs=(offloadctl rexec udsbridge)
units=()
pages='offloadctl*'
case $side in
host | both)
	programs+=(offload-host containerd-shim-offload-host)
	units+=(offload-host.service)
	pages+=' offload-host*'
	;;&
dpu | both)
	programs+=(offload-dpu containerd-shim-offload-v1 offload-runc)
	units+=(offload-dpu.service offload-dpu.socket)
	pages+=' offload-dpu*'
	;;&
host | dpu | both) ;;
*)
	echo "install.sh: $side is neither host nor dpu nor both" >&2
	exit 2
	;;
esac

# put MODE FILE TARGET: install one file, with the directories above it.
put() { install -D -m "$1" "$2" "$root$3"; }

for p in "${programs[@]}"; do
	put 0755 "$bin/$p" "$prefix/bin/$p"
done
# mount(8) looks for its helpers here only.
if [ "$side" != host ]; then
	install -d "$root${HELPERDIR:-/sbin}"
	ln -sf "$prefix/bin/offloadctl" "$root${HELPERDIR:-/sbin}/mount.fuse.remotefs"
fi
for u in "${units[@]}"; do
	put 0644 "$source/configs/systemd/$u" "${UNITDIR:-$prefix/lib/systemd/system}/$u"
done

# What a user copies and edits. Nothing below /etc is written: an example that does not fit
# must not look like a configuration.
examples=$prefix/share/offload
if [ "$side" != dpu ]; then
	put 0644 "$source/configs/host.toml" "$examples/host.toml"
fi
if [ "$side" != host ]; then
	# In no PATH, unless somebody wants the shim to be found as runc's.
	install -d "$root$prefix/lib/offload"
	ln -sf "$prefix/bin/containerd-shim-offload-v1" "$root$prefix/lib/offload/containerd-shim-runc-v2"
	for f in dpu.toml offload.toml daemon.json; do
		put 0644 "$source/configs/$f" "$examples/$f"
	done
	for d in containerd docker; do
		put 0644 "$source/configs/systemd/$d.service.d/offload.conf" "$examples/systemd/$d.service.d/offload.conf"
	done
fi

manual=$(mktemp -d)
trap 'rm -rf "$manual"' EXIT
"$offloadctl" man --dir "$manual"
cd "$manual"
for page in $pages; do
	gzip -9n "$page"
	put 0644 "$page.gz" "$prefix/share/man/man8/$page.gz"
done
for shell in bash:bash-completion/completions/offloadctl zsh:zsh/vendor-completions/_offloadctl \
	fish:fish/vendor_completions.d/offloadctl.fish; do
	"$offloadctl" completion "${shell%%:*}" >completion
	put 0644 completion "$prefix/share/${shell#*:}"
done
