# What is left of a container when its shim is killed: nothing, and its restart policy acts.
shim() { pgrep -f -- "-id $(docker inspect -f '{{.Id}}' $1) "; }
docker run -d --name ends --network none busybox sleep 1000 >/dev/null
docker run -d --name again --network none --restart always busybox sleep 1000 >/dev/null
docker run -d --name other --network none busybox sleep 1000 >/dev/null
docker wait ends >status &
kill -9 $(shim ends); wait $!; cat status
docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' ends
docker start ends; docker exec ends echo started
kill -9 $(shim again)
until_ok sh -c 'docker inspect -f "{{.State.Status}} {{.RestartCount}}" again | grep "running 1"'
docker exec again echo reached
docker exec other echo untouched
