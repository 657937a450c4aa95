# A journal of the DPU, which is where dockerd writes to.
mkdir -p /run/systemd/journal /run/log/journal
test -s /etc/machine-id || { tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id; made=1; }
/usr/lib/systemd/systemd-journald >journald.log 2>&1 & journald=$!
until_ok test -S /run/systemd/journal/socket
docker run --name written --network none --log-driver journald --log-opt tag=site/{{.Name}} --log-opt labels=role --label role=web \
	busybox sh -c 'echo to stdout; echo to stderr >&2; seq 30' >/dev/null 2>&1
docker inspect -f '{{.HostConfig.LogConfig.Type}}' written
docker logs written 2>&1 | sort | tail -2; docker logs written 2>&1 | wc -l
entries() { journalctl -q --sync; journalctl -q -D /run/log/journal CONTAINER_NAME=written "$@"; }
entries -o cat | sort | head -4; entries -o cat | wc -l
entries -o cat PRIORITY=3; entries -o cat PRIORITY=6 | tail -1
entries -n 1 -o verbose | grep -o -e 'CONTAINER_TAG=.*' -e ' ROLE=.*' -e 'SYSLOG_IDENTIFIER=.*' | sort
test "$(entries -n 1 -o verbose | grep -o 'CONTAINER_ID_FULL=.*')" = CONTAINER_ID_FULL=$(docker inspect -f '{{.Id}}' written) && echo its id
kill $journald; wait $journald; rm -rf /run/systemd /run/log
test -z "${made:-}" || rm /etc/machine-id
