docker run --rm busybox sh -c 'echo out; echo err >&2' 2>err >out; cat out err
echo in | docker run --rm -i busybox cat
seq 100000 | docker run --rm -i busybox md5sum
docker run --rm busybox sh -c 'seq 200000' | md5sum
docker run --rm busybox sh -c 'yes | head -c 5000000' | wc -c
docker run --rm -t busybox sh -c 'test -t 0 && test -t 1 && echo terminal'
docker run -d --name late -i busybox cat >/dev/null
(printf 'one\ntwo\n' | timeout -s KILL 3 docker attach --sig-proxy=false late) >/dev/null 2>&1; docker logs late
