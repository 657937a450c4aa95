docker run --name c busybox sh -c 'echo new > /new; rm /etc/group; mkdir /dir; chmod 700 /home'
docker diff c | sort
docker commit -m why -a me -c 'ENV X=1' -c 'CMD ["cat","/new"]' c committed >/dev/null
docker run --rm committed; docker run --rm committed sh -c 'echo $X; ls /etc/group; ls -d /dir'
docker history --format '{{.Comment}}' committed | head -1
docker export c | tar t | grep -E '^(new|dir/|etc/passwd)$' | sort
docker export c | docker import -c 'CMD ["cat","/new"]' - imported >/dev/null; docker run --rm imported
docker rmi committed imported | grep -c Untagged
docker run --rm busybox sh -c 'mknod /n c 1 3; mkfifo /p; ln -s x /s; ls -l /n /p /s | cut -c1-10'
