docker run -d --name red --restart on-failure:3 busybox sh -c 'echo run; exit 5' >/dev/null
until_ok sh -c 'test "$(docker inspect -f "{{.RestartCount}}{{.State.Running}}{{.State.Restarting}}" red)" = 3falsefalse'
docker logs red | sort | uniq -c
docker inspect -f '{{.RestartCount}} {{.State.ExitCode}}' red
docker run -d --name use --restart unless-stopped busybox sh -c 'sleep 0.2; exit 0' >/dev/null
until_ok sh -c 'test $(docker inspect -f "{{.RestartCount}}" use) -ge 2'; echo restarted
docker stop use; docker inspect -f '{{.State.Status}}' use
docker run --rm --name gone busybox true; docker inspect gone >/dev/null; echo $?
