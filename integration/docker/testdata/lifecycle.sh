docker create --name c --restart no busybox sh -c 'echo started; trap "echo stopping; exit 3" TERM; while :; do sleep 0.1; done' | wc -c
docker inspect -f '{{.State.Status}}' c
docker start c
until_ok sh -c 'docker logs c | grep started'
docker pause c; docker inspect -f '{{.State.Status}}' c; docker unpause c; docker inspect -f '{{.State.Status}}' c
docker stop c; docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' c
docker start c; docker restart -t 1 c; docker inspect -f '{{.State.Running}}' c
docker rename c d; docker ps --format '{{.Names}} {{.State}}'
docker kill -s KILL d; docker wait d
docker rm d; docker ps -a --format '{{.Names}}'; echo end
docker run --name e busybox true; docker rm e
docker run -d --name f --stop-signal USR1 --stop-timeout 5 busybox sh -c 'trap "exit 9" USR1; while :; do sleep 0.1; done' >/dev/null
docker stop f; docker inspect -f '{{.State.ExitCode}}' f
docker container prune -f | grep -v ID
