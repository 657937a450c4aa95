// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// serveLoad starts two servers that have their data on volumes, and a client of each that asks until a file is there. A
// client counts what it has asked for, and ends at the first question that is not answered.
const serveLoad = `
mkdir -p /srv/gate; rm -f /srv/gate/*; chmod 777 /srv/gate
docker run -d --name store -v stored:/data REDIS redis-server --dir /data --appendonly yes --save '' --protected-mode no >/dev/null
docker run -d --name web -v pages:/usr/share/nginx/html NGINX >/dev/null
docker run --rm -v pages:/p busybox sh -c 'seq 20000 >/p/numbers; md5sum </p/numbers'
docker run -d --name counting --network container:store -v /srv/gate:/gate REDIS sh -c '
	n=0; until redis-cli ping | grep -q PONG; do sleep 0.1; done
	while ! test -e /gate/enough; do redis-benchmark -c 8 -n 200 -q incr counted >/dev/null && n=$((n+200)) || exit 1; echo $n >/gate/counted; done
	redis-cli get counted >/gate/stored' >/dev/null
docker run -d --name reading --network container:web -v /srv/gate:/gate busybox sh -c '
	until wget -q -O /dev/null http://127.0.0.1/; do sleep 0.1; done
	while ! test -e /gate/enough; do wget -q -O - http://127.0.0.1/numbers | md5sum >>/gate/read || exit 1; done' >/dev/null
until_ok test -s /srv/gate/counted; until_ok test -s /srv/gate/read; docker ps -q | wc -l
`

// endLoad lets the load go on for a moment more, and holds what the servers have against what was asked of them.
const endLoad = `
was=$(cat /srv/gate/counted); export was; until_ok sh -c 'test $(cat /srv/gate/counted) -gt $((was+200))'; echo counts on
was=$(wc -l </srv/gate/read); export was; until_ok sh -c 'test $(wc -l </srv/gate/read) -gt $was'; echo reads on
touch /srv/gate/enough; docker wait counting reading; sort -u /srv/gate/read
test $(cat /srv/gate/counted) = $(cat /srv/gate/stored) && echo all counted
docker stop store >/dev/null; docker start store >/dev/null
until_ok sh -c 'docker exec store redis-cli ping | grep PONG'
test $(docker exec store redis-cli get counted) = $(cat /srv/gate/counted) && echo all on the volume
docker inspect -f '{{.Name}} {{.RestartCount}}' store web
rm -r /srv/gate
`

// TestServersUnderLoad holds that servers with their data on volumes answer every question while dockerd is killed and
// started again, and lose nothing.
func TestServersUnderLoad(t *testing.T) {
	sites := startSites(t, nil, "--live-restore")
	both(t, sites, func(s *site, ctx context.Context) error {
		for _, name := range []string{"redis", "nginx"} {
			if out, err := s.l.DPU.Shell(ctx, useSite+"docker pull -q "+s.l.Image(name)).CombinedOutput(); err != nil {
				return fmt.Errorf("pull %s: %w: %s", name, err, out)
			}
		}
		return nil
	})
	images := strings.NewReplacer("REDIS", pair[0].Image("redis"), "NGINX", pair[0].Image("nginx"))
	compare(t, useSite+images.Replace(serveLoad))
	both(t, sites, func(s *site, _ context.Context) error { s.process.Kill(); return nil })
	both(t, sites, (*site).start)
	compare(t, useSite+endLoad)
}
