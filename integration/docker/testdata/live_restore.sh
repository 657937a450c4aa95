# The daemon goes and comes back; without live-restore its containers are stopped with it, as on one machine.
docker run -d --name keeps busybox sleep 1000 >/dev/null
docker inspect -f '{{.HostConfig.LogConfig.Type}}' keeps
docker info -f '{{.LiveRestoreEnabled}}'
