# Flags that change the process.
docker run --rm -e A=1 -e B busybox sh -c 'echo $A-${B-unset}'
docker run --rm -w /tmp busybox pwd
docker run --rm -u 1000:1001 busybox id
docker run --rm -u nobody busybox id -u
docker run --rm --group-add 77 busybox id -G
docker run --rm --entrypoint echo busybox hello
docker run --rm --init busybox sh -c 'cat /proc/1/comm'
docker run --rm --hostname h --domainname d.example busybox sh -c 'hostname; cat /etc/hostname'
docker run --rm --add-host db:10.1.2.3 busybox grep -w db /etc/hosts
docker run --rm --dns 10.9.8.7 --dns-search s.example --dns-option ndots:3 busybox grep -v '^#' /etc/resolv.conf
docker run --rm --annotation a=b busybox echo annotated
docker run --rm --label x=y busybox echo labelled
docker run --cidfile cid busybox echo cid; wc -c < cid
docker run --rm --platform linux/amd64 busybox uname -m
