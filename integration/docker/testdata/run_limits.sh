# Limits, as the container sees them.
docker run --rm -m 64m busybox cat /sys/fs/cgroup/memory/memory.limit_in_bytes
docker run --rm --cpus 0.5 busybox cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
docker run --rm --cpu-shares 512 busybox cat /sys/fs/cgroup/cpu/cpu.shares
docker run --rm --cpuset-cpus 0 busybox nproc
docker run --rm --pids-limit 33 busybox cat /sys/fs/cgroup/pids/pids.max
docker run --rm --ulimit nofile=123:456 busybox sh -c 'ulimit -n; ulimit -Hn'
docker run --rm --ulimit core=0 busybox sh -c 'ulimit -c'
docker run --rm --oom-score-adj 321 busybox cat /proc/self/oom_score_adj
docker run --rm --shm-size 5m busybox sh -c 'df -k /dev/shm | tail -1'
docker run --rm --sysctl net.ipv4.ip_unprivileged_port_start=99 busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start
docker run --rm --sysctl kernel.msgmax=4321 busybox cat /proc/sys/kernel/msgmax
docker run -m 6m --rm busybox dd if=/dev/zero of=/dev/null bs=50M count=1; echo status $?
