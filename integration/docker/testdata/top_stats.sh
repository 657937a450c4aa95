docker run -d --name t -m 64m busybox sleep 1000 >/dev/null
docker top t -o args | tail -1
docker stats --no-stream --format '{{.Name}} {{.PIDs}}' t
docker stats --no-stream --format '{{.MemUsage}}' t | sed 's/.*\///'
docker update -m 96m --memory-swap 96m t; docker exec t cat /sys/fs/cgroup/memory/memory.limit_in_bytes
docker update --cpus 0.3 t; docker exec t cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
docker update --restart always t; docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' t
docker port t; docker inspect -f '{{.Config.Image}} {{.Path}} {{.Args}}' t
