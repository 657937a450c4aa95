# Namespaces shared and not.
docker run -d --name a busybox sleep 1000 >/dev/null
docker run --rm --pid container:a busybox ps -o args | grep 'sleep 1000'
docker exec a sh -c 'hostname shared 2>/dev/null || true'
docker run --rm --ipc container:a busybox true; echo status $?
docker run -d --name b --ipc shareable busybox sleep 1000 >/dev/null
docker exec b sh -c 'echo x > /dev/shm/f'
docker run --rm --ipc container:b busybox cat /dev/shm/f
docker run --rm --network container:a busybox sh -c 'ip -o -4 addr show eth0 | wc -l'
docker run --rm --uts host busybox true; echo status $?
docker run --rm --cgroupns private busybox true; echo status $?
docker run --rm --pid host busybox sh -c 'test "$(cat /proc/1/comm)" != sh && echo not mine'
