#!/bin/bash
# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# deb.sh BIN ARCH OUT: make the packages offload-host and offload-dpu of the programs in BIN,
# which are for Debian's architecture ARCH, in the directory OUT. OFFLOADCTL is as for
# install.sh.
set -euo pipefail

bin=$1
arch=$2
out=$3
here=$(cd "$(dirname "$0")" && pwd)

# A commit's packages have the same content whenever they are made.
cd "$here"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
if tag=$(git describe --tags --match 'v*' 2>/dev/null); then
	version=$(sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/' <<<"$tag")
else
	version=0.0.0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(git rev-parse --short HEAD)
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)

# script TREE NAME UNITS: a maintainer's script of the package. The first unit is the daemon's.
script() {
	local body
	case $2 in
	postinst) body="[ \"\$1\" = configure ] && [ -n \"\${2:-}\" ] && systemctl try-restart ${3%% *} || true" ;;
	prerm) body="[ \"\$1\" = remove ] && systemctl disable --now $3 || true" ;;
	postrm) body=: ;;
	esac
	cat >"$1/DEBIAN/$2" <<-END
		#!/bin/sh
		# Containers and their shims outlive a restart of the unit.
		set -e
		[ -d /run/systemd/system ] || exit 0
		systemctl daemon-reload || true
		$body
	END
	chmod 0755 "$1/DEBIAN/$2"
}

for side in host dpu; do
	tree=$(mktemp -d)
	trap 'rm -rf "$tree"' EXIT
	chmod 0755 "$tree"
	DESTDIR=$tree PREFIX=/usr UNITDIR=/lib/systemd/system HELPERDIR=/usr/sbin "$here/install.sh" "$bin" "$side"
	install -D -m 0644 "$here/../LICENSE" "$tree/usr/share/doc/offload-$side/copyright"
	mkdir "$tree/DEBIAN"
	case $side in
	host)
		other=dpu
		units='offload-host.service'
		depends='runc, kmod'
		summary='run the containers of another machine'
		text=' The agent for a machine that runs containers for a DPU: it keeps the snapshots
 and starts a shim and runc for each pod. It holds no containerd and no dockerd.'
		;;
	dpu)
		other=host
		units='offload-dpu.service offload-dpu.socket'
		depends='kmod'
		summary='run the containers of containerd and dockerd on another machine'
		text=' The daemon, the shim and the plugins by which a stock containerd 2 and a stock
 dockerd of this machine have their images unpacked and their containers run on
 another machine, the HOST.'
		;;
	esac
	for name in postinst prerm postrm; do
		script "$tree" "$name" "$units"
	done
	cat >"$tree/DEBIAN/control" <<-END
		Package: offload-$side
		Version: $version
		Architecture: $arch
		Maintainer: The offload Authors <offload@localhost>
		Section: admin
		Priority: optional
		Depends: $depends
		Conflicts: offload-$other
		Installed-Size: $(du -k -s --exclude=DEBIAN "$tree" | cut -f1)
		Description: $summary
		$text
	END
	find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch -h -d "@$SOURCE_DATE_EPOCH"
	dpkg-deb --root-owner-group --build "$tree" "$out/offload-${side}_${version}_$arch.deb" >/dev/null
	rm -rf "$tree"
	echo "$out/offload-${side}_${version}_$arch.deb"
done
