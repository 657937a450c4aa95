docker run -d --name sig busybox sh -c 'for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH; do trap "echo got $s" $s; done; echo ready; while :; do sleep 0.05; done' >/dev/null
until_ok sh -c 'docker logs sig | grep ready'
for s in HUP INT QUIT USR1 USR2 ALRM TERM WINCH 10; do docker kill -s $s sig >/dev/null; sleep 0.4; done
docker logs sig
docker kill -s NOSUCH sig; echo $?
docker rm -f sig; docker rm -f sig; echo $?
