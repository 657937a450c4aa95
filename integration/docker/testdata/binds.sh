mkdir -p dir/sub; echo host > dir/f; echo single > file
docker run --rm -v $PWD/dir:/d busybox sh -c 'cat /d/f; echo back > /d/g; ls /d'; cat dir/g
docker run --rm -v $PWD/dir:/d:ro busybox sh -c 'touch /d/x 2>&1; echo $?'
docker run --rm -v $PWD/file:/file busybox sh -c 'cat /file; echo more >> /file'; cat file
docker run --rm --mount type=bind,src=$PWD/dir,dst=/d,readonly busybox ls /d
docker run --rm --mount type=bind,src=$PWD/none,dst=/d busybox true; echo $?
docker run --rm -v $PWD/made:/d busybox touch /d/x; ls made
docker run --rm --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770 busybox sh -c 'stat -c %a /t'
docker run --rm --mount type=image,src=busybox,dst=/i busybox sh -c 'ls /i | head -2; touch /i/x 2>&1; echo $?'
docker run -d --name wait -v $PWD/dir:/d busybox sh -c 'until test -f /d/flag; do sleep 0.1; done; cat /d/flag' >/dev/null
echo raised > dir/flag; docker wait wait; docker logs wait
docker run --rm -v $PWD/dir:/d -u 1234 busybox sh -c 'touch /d/mine 2>&1; echo $?'
docker run --rm -v $PWD/dir:/d busybox sh -c 'mv /d/f /d/sub/f2; ln /d/sub/f2 /d/hard; stat -c %h /d/hard; ln -s nowhere /d/soft; readlink /d/soft'; find dir | sort

mkdir -p tree/below; mount -t tmpfs none tree/below; echo covering > tree/below/f
docker run --rm --mount type=bind,src=$PWD/tree,dst=/d busybox find /d
docker run --rm --mount type=bind,src=$PWD/tree,dst=/d,bind-recursive=disabled busybox sh -c 'find /d; touch /d/made'; ls tree
docker run --rm --mount type=bind,src=$PWD/tree,dst=/d,bind-recursive=disabled,readonly busybox sh -c 'touch /d/x /d/below/x 2>&1'
umount tree/below
