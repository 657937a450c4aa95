for s in 0 1 7 125 255; do docker run --rm busybox sh -c "exit $s"; echo $?; done
docker run --rm busybox /no/such; echo $?
docker run --rm busybox /etc; echo $?
docker run --rm no-such-image-here 2>&1 | grep -c 'docker run --help'
docker run --rm --no-such-flag busybox; echo $?
docker run --name killed -d busybox sleep 1000 >/dev/null; docker kill killed; docker wait killed; docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Status}}' killed
docker run --rm busybox sh -c 'kill -TERM $$; sleep 1'; echo $?
