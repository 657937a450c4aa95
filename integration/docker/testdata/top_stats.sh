docker run -d --name top -m 64m busybox sleep 1000 >/dev/null
docker top top -o pid,args | sed 's/^ *[0-9]* *//'
docker stats --no-stream --format '{{.Name}} {{.PIDs}}' top
docker stats --no-stream --format '{{.MemUsage}}' top | sed 's/.*\///'
docker update -m 96m --memory-swap 96m top; docker exec top cat /sys/fs/cgroup/memory/memory.limit_in_bytes
docker update --cpus 0.3 top; docker exec top cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
docker update --restart always top; docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' top
docker port top; docker inspect -f '{{.Config.Image}} {{.Path}} {{.Args}}' top
