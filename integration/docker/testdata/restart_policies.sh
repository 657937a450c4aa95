docker run -d --name r --restart on-failure:3 busybox sh -c 'echo run; exit 5' >/dev/null
until_ok sh -c 'test "$(docker inspect -f "{{.RestartCount}}{{.State.Running}}{{.State.Restarting}}" r)" = 3falsefalse'
docker logs r | sort | uniq -c
docker inspect -f '{{.RestartCount}} {{.State.ExitCode}}' r
docker run -d --name u --restart unless-stopped busybox sh -c 'sleep 0.2; exit 0' >/dev/null
until_ok sh -c 'test $(docker inspect -f "{{.RestartCount}}" u) -ge 2'; echo restarted
docker stop u; docker inspect -f '{{.State.Status}}' u
docker run --rm --name gone busybox true; docker inspect gone >/dev/null; echo $?
