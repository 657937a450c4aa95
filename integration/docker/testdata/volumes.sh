docker volume create --label a=b vol; docker volume ls -q; docker volume inspect -f '{{.Driver}} {{.Labels.a}}' vol
docker run --rm -v vol:/data busybox sh -c 'echo kept > /data/f; mkdir /data/d; chown 3:4 /data/d'
docker run --rm -v vol:/data:ro busybox sh -c 'cat /data/f; touch /data/x; stat -c %u:%g /data/d'
docker run -d --name use -v vol:/data busybox sleep 1000 >/dev/null; docker volume rm vol; echo $?
docker run --rm --volumes-from use busybox cat /data/f
docker rm -f use >/dev/null
docker run --rm -v copyup:/etc busybox sh -c 'ls /etc | head -3'; docker run --rm -v copyup:/x busybox cat /x/group | head -1
docker run --rm -v nocopy:/etc:nocopy busybox sh -c 'ls -A /etc | sort'
docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1m tmp >/dev/null; docker run --rm -v tmp:/t busybox sh -c 'df -k /t | tail -1 | tr -s " " | cut -d" " -f2'
docker run --rm --mount type=volume,src=mnt,dst=/m,volume-nocopy busybox touch /m/x; docker run --rm -v mnt:/m busybox ls /m
docker run -d --name anon -v /anon busybox sleep 1000 >/dev/null; docker volume ls -q | wc -l; docker rm -f -v anon >/dev/null; docker volume ls -q | wc -l
docker volume prune -af | grep -c .; docker volume ls -q
