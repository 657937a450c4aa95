docker run -d --name x -e A=1 busybox sleep 1000 >/dev/null
docker exec x echo hello
docker exec -e B=2 -w /tmp -u 5:6 x sh -c 'echo $A $B; pwd; id'
echo in | docker exec -i x cat
docker exec x sh -c 'exit 42'; echo $?
docker exec x /no/such; echo $?
docker exec -d x sh -c 'sleep 500'; until_ok docker exec x pgrep -f 'sleep 500'; docker exec x ps -o args | grep -c 'sleep 500'
docker exec -t x sh -c 'test -t 1 && echo terminal'
docker exec --privileged x grep CapEff /proc/self/status
docker exec nobody true; echo $?
seq 100000 | docker exec -i x md5sum
docker stop -t 0 x >/dev/null; docker exec x true; echo $?
