docker run --name log busybox sh -c 'echo one; echo two >&2; echo three' 2>/dev/null
docker logs log 2>/dev/null; docker logs log 2>&1 >/dev/null; docker logs -t log 2>/dev/null | cut -d' ' -f2
docker logs log 2>/dev/null | wc -l
docker run -d --name four busybox sh -c 'for i in 1 2 3; do echo line $i; sleep 0.3; done' >/dev/null
docker logs -f four; docker logs --tail 1 four
docker logs --since 1h four | wc -l; docker logs --until 2020-01-01 four | wc -l
for driver in json-file local none; do docker run --name d-$driver --log-driver $driver busybox echo $driver; docker logs d-$driver; done
docker run --name opt --log-opt max-size=10k --log-opt max-file=2 busybox sh -c 'seq 20000' | tail -1
docker run -d --name many busybox sh -c 'seq 100000' >/dev/null; docker wait many; docker logs many | md5sum
