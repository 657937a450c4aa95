docker run --name one busybox sh -c 'echo new > /new; rm /etc/group; mkdir /dir; chmod 700 /home'
docker diff one | sort
docker commit -m why -a me -c 'ENV X=1' -c 'CMD ["cat","/new"]' one committed >/dev/null
docker run --rm committed; docker run --rm committed sh -c 'echo $X; ls /etc/group 2>&1; ls -d /dir'
docker history --format '{{.Comment}}' committed | head -1
docker export one | tar t | grep -E '^(new|dir/|etc/passwd)$' | sort
docker export one | docker import -c 'CMD ["cat","/new"]' - imported >/dev/null; docker run --rm imported
docker rmi committed imported | grep -c Untagged
docker run --rm busybox sh -c 'mknod /n c 1 3; mkfifo /p; ln -s x /s; ls -l /n /p /s | cut -c1-10'
