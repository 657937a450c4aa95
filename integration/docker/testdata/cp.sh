docker run -d --name c busybox sleep 1000 >/dev/null
echo file > f; mkdir -p d/e; echo deep > d/e/g; ln -s g d/e/link; chmod 640 d/e/g; chown 12:34 d/e/g; truncate -s 3M sparse
docker cp f c:/tmp/f; docker exec c cat /tmp/f
docker cp d c:/tmp; docker exec c sh -c 'ls -ln /tmp/d/e | cut -c1-10,20-40; readlink /tmp/d/e/link'
docker cp -a d c:/tmp/a; docker exec c stat -c '%u:%g %a' /tmp/a/e/g
docker cp sparse c:/; docker exec c stat -c %s /sparse
docker cp c:/tmp/d/. back; find back | sort; cat back/e/g
docker cp c:/etc/passwd - | tar t
tar c f | docker cp - c:/var; docker exec c cat /var/f
docker cp c:/no/such .; echo $?
docker cp f c:/no/such/; echo $?
docker exec c sh -c 'ln -s /tmp /sneaky'; docker cp f c:/sneaky/through; docker exec c cat /tmp/through
docker stop -t 0 c >/dev/null; docker cp c:/tmp/f again; cat again
head -c 30000000 /dev/urandom > big; md5sum < big > want; docker cp big c:/big; docker cp c:/big got; md5sum < got | diff - want && echo same
