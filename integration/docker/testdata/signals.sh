docker run -d --name sig busybox sh -c 'for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH; do trap "echo got $s" $s; done; echo ready; while :; do sleep 0.05; done' >/dev/null
until_ok sh -c 'docker logs sig | grep ready'
for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH 10; do docker kill -s $s sig >/dev/null; sleep 0.4; done
docker logs sig
docker kill -s NOSUCH sig; echo $?
docker rm -f sig; docker rm -f sig; echo $?
# What is sent to a container's pid reaches the container.
docker run -d --name pid --network none busybox sleep 1000 >/dev/null
docker run -d --name again --restart always busybox sleep 1000 >/dev/null
kill -9 $(docker inspect -f '{{.State.Pid}}' pid); docker wait pid
docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}} {{.State.OOMKilled}}' pid
docker start pid; docker exec pid echo started
kill -9 $(docker inspect -f '{{.State.Pid}}' again)
until_ok sh -c 'docker inspect -f "{{.State.Status}} {{.RestartCount}}" again | grep "running 1"'
docker exec again echo reached
