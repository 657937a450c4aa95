docker run -d --name box -e A=1 busybox sleep 1000 >/dev/null
docker exec box echo hello
docker exec -e B=2 -w /tmp -u 5:6 box sh -c 'echo $A $B; pwd; id'
echo in | docker exec -i box cat
docker exec box sh -c 'exit 42'; echo $?
docker exec box /no/such; echo $?
docker exec -d box sh -c 'sleep 500'; until_ok sh -c 'docker exec box ps -o args | grep -qx "sleep 500"'; docker exec box ps -o args | grep -c 'sleep 500'
docker exec -t box sh -c 'test -t 1 && echo terminal'
docker exec --privileged box grep CapEff /proc/self/status
docker exec nobody true; echo $?
seq 100000 | docker exec -i box md5sum
docker stop -t 0 box >/dev/null; docker exec box true; echo $?
