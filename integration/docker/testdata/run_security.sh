# What the container may do.
docker run --rm busybox grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status
docker run --rm --cap-drop ALL --cap-add CHOWN busybox grep CapEff /proc/self/status
docker run --rm --privileged busybox grep -E 'CapEff|Seccomp:' /proc/self/status
docker run --rm --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status
docker run --rm --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status
echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' > profile.json
docker run --rm --security-opt seccomp=profile.json busybox mkdir /x; echo status $?
docker run --rm --read-only busybox touch /x; echo status $?
docker run --rm --read-only --tmpfs /t:size=1m busybox sh -c 'touch /t/x && mount | grep " /t "'
docker run --rm --device /dev/fuse busybox stat -c '%A %u:%g %t,%T' /dev/fuse
docker run --rm busybox ls /dev
docker run --rm --gpus all busybox true; echo status $?
