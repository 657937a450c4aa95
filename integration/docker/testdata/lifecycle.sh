docker create --name one --restart no busybox sh -c 'echo started; trap "echo stopping; exit 3" TERM; while :; do sleep 0.1; done' | wc -c
docker inspect -f '{{.State.Status}}' one
docker start one
until_ok sh -c 'docker logs one | grep started'
docker pause one; docker inspect -f '{{.State.Status}}' one; docker unpause one; docker inspect -f '{{.State.Status}}' one
docker stop one; docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' one
docker start one; docker restart -t 1 one; docker inspect -f '{{.State.Running}}' one
docker rename one two; docker ps --format '{{.Names}} {{.State}}'
docker kill -s KILL two; docker wait two
docker rm two; docker ps -a --format '{{.Names}}'; echo end
docker run --name three busybox true; docker rm three
docker run -d --name four --stop-signal USR1 --stop-timeout 5 busybox sh -c 'trap "exit 9" USR1; while :; do sleep 0.1; done' >/dev/null
docker stop four; docker inspect -f '{{.State.ExitCode}}' four
docker container prune -f | grep -v ID
