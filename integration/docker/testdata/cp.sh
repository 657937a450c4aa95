docker run -d --name one busybox sleep 1000 >/dev/null
echo file > f; mkdir -p d/e; echo deep > d/e/g; ln -s g d/e/link; chmod 640 d/e/g; chown 12:34 d/e/g; truncate -s 3M sparse
docker cp f one:/tmp/f; docker exec one cat /tmp/f
docker cp d one:/tmp; docker exec one sh -c 'ls -ln /tmp/d/e | cut -c1-10,20-40; readlink /tmp/d/e/link'
docker cp -a d one:/tmp/a; docker exec one stat -c '%u:%g %a' /tmp/a/e/g
docker cp sparse one:/; docker exec one stat -c %s /sparse
docker cp one:/tmp/d/. back; find back | sort; cat back/e/g
docker cp one:/etc/passwd - | tar t
tar c f | docker cp - one:/var; docker exec one cat /var/f
docker cp one:/no/such .; echo $?
docker cp f one:/no/such/ 2>&1 | tail -1
docker exec one sh -c 'ln -s /tmp /sneaky'; docker cp f one:/sneaky/through; docker exec one cat /tmp/through
docker stop -t 0 one >/dev/null; docker cp one:/tmp/f again; cat again
head -c 30000000 /dev/urandom > big; md5sum < big > want; docker cp big one:/big; docker cp one:/big got; md5sum < got | diff - want && echo same
# Without room, on either side.
mkdir full; mount -t tmpfs -o size=1m none full; dd if=/dev/zero of=big bs=1M count=3 2>/dev/null
docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=1m small
docker create --name roomy -v small:/small busybox >/dev/null
docker cp -q big roomy:/big; docker cp -q roomy:/big full/; echo status $?
docker cp -q big roomy:/small/big 2>&1 | grep -v level=; docker cp -q full/. roomy:/; echo status $?
umount full; docker rm -v roomy; docker volume rm small
