since=$(date +%s)
docker run --rm --name ev --network none busybox true
docker events --since $since --until $(( $(date +%s) + 1 )) --filter container=ev --format '{{.Action}} {{.Actor.Attributes.exitCode}}'
docker info -f '{{.CgroupVersion}} {{.CgroupDriver}} {{.NCPU}} {{.OSType}} {{.MemoryLimit}} {{.PidsLimit}}'
docker info -f '{{.KernelVersion}} {{.Architecture}} {{.MemTotal}}'
docker version -f '{{.Server.Version}} {{.Client.Version}}'
docker system df --format '{{.Type}}'
docker context ls --format '{{.Name}}'
docker system prune -f | tail -1 | cut -d: -f1
docker ps --no-trunc --filter status=running -q | wc -l
docker run -d --name keeps busybox sleep 1000 >/dev/null; docker inspect -f '{{.HostConfig.LogConfig.Type}}' keeps
docker info -f '{{.LiveRestoreEnabled}}'
