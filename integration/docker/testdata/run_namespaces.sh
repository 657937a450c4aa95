# Namespaces shared and not.
docker run -d --name first busybox sleep 1000 >/dev/null
docker run --rm --pid container:first busybox ps -o args | grep 'sleep 1000'
docker exec first sh -c 'hostname shared 2>/dev/null || true'
docker run --rm --ipc container:first busybox true; echo status $?
docker run -d --name second --ipc shareable --shm-size 5m busybox sleep 1000 >/dev/null
docker exec second sh -c 'echo x > /dev/shm/f'
docker run --rm --ipc container:second busybox cat /dev/shm/f
docker run --rm --ipc container:second busybox df -k /dev/shm | tail -1
docker run --rm --ipc host busybox sh -c 'mount | grep -c "/dev/shm type tmpfs"'
docker run --rm --network container:first busybox sh -c 'ip -o -4 addr show eth0 | wc -l'
docker run --rm --uts host busybox true; echo status $?
docker run --rm --cgroupns private busybox true; echo status $?
docker run --rm --pid host busybox sh -c 'test "$(cat /proc/1/comm)" != sh && echo not mine'
