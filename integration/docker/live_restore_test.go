// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"testing"
)

// runMany starts twenty containers that count and three that wait for a file: one to end, one to be started again, one
// to be started again only if it fails.
const runMany = `
mkdir -p /srv/gate
waits='while ! test -e /gate/open; do sleep 0.1; done'
for i in $(seq 20); do
	docker run -d --name c$i --network none busybox sh -c 'trap "exit 7" TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done' >/dev/null &
	test $((i % 4)) != 0 || wait
done
docker run -d --name ends --network none -v /srv/gate:/gate busybox sh -c "$waits; echo last; touch /gate/ended; exit 9" >/dev/null
docker run -d --name again --restart always --network none -v /srv/gate:/gate busybox sh -c \
	"test ! -e /gate/again || exec sleep 1000; $waits; echo once; touch /gate/again; exit 3" >/dev/null
docker run -d --name fails --restart on-failure --network none busybox sleep 1000 >/dev/null
docker ps -q | wc -l
`

// endUnseen lets two containers end while dockerd is away. (What ends while containerd is away as well has an exit status
// of 255 on any machine: containerd removes a task that it finds stopped when it starts.)
const endUnseen = `
touch /srv/gate/open
until_ok sh -c 'ctr -n site task ls | grep -c STOPPED | grep -qx 2'
ls /srv/gate; ctr -n site task ls 2>/dev/null | grep -c RUNNING
`

// useMany does with the containers what one does right after the daemons are back.
const useMany = `
docker wait ends; docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends
for i in $(seq 20); do docker inspect -f '{{.Name}} {{.State.Status}} {{.RestartCount}}' c$i; done
docker exec c1 echo reached
was=$(docker logs c2 | tail -1); export was
until_ok sh -c 'test $(docker logs c2 | tail -1) -gt $was'; echo counts on
for i in $(seq 20); do docker logs c$i | awk '$1 != NR {print "line " NR " is " $1; exit 1}' || echo gap in c$i; done
docker run -d --name new --network none busybox sleep 1000 >/dev/null; docker exec new echo new
docker stop c1 c2; docker inspect -f '{{.State.ExitCode}}' c1 c2
until_ok sh -c 'docker inspect -f "{{.State.Status}}" again | grep running'
docker inspect -f '{{.State.Status}} {{.RestartCount}}' again
docker kill fails; docker wait fails >/dev/null; docker inspect -f '{{.State.Status}} {{.RestartCount}}' fails
docker kill -s KILL c3; docker wait c3
rm -r /srv/gate
`

// TestLiveRestore holds that twenty containers run on while dockerd and containerd are killed and started again, that
// nothing the twenty wrote is lost, and that all one does with them works at once.
func TestLiveRestore(t *testing.T) {
	sites := startSites(t, nil, "--live-restore")
	compare(t, useSite+runMany)
	both(t, sites, func(s *site, _ context.Context) error { s.process.Kill(); return nil })
	both(t, sites, func(s *site, _ context.Context) error { s.l.Containerd.Kill(); return nil })
	both(t, sites, func(s *site, ctx context.Context) error { return s.l.StartContainerd(ctx) })
	compare(t, endUnseen)
	both(t, sites, (*site).start)
	compare(t, useSite+useMany)
}
