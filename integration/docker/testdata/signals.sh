docker run -d --name s busybox sh -c 'for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH; do trap "echo got $s" $s; done; echo ready; while :; do sleep 0.05; done' >/dev/null
until_ok sh -c 'docker logs s | grep ready'
for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH 10; do docker kill -s $s s >/dev/null; sleep 0.4; done
docker logs s
docker kill -s NOSUCH s; echo $?
docker rm -f s; docker rm -f s; echo $?
