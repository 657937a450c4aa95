docker images --format '{{.Repository}}:{{.Tag}}' | sort | grep -E '^(busybox|redis):'
docker tag busybox other:v1; docker image inspect -f '{{.Os}}/{{.Architecture}} {{len .RootFS.Layers}}' other:v1
docker save other:v1 busybox -o all.tar; tar tf all.tar | grep -c blobs/sha256/
docker rmi other:v1; docker load -i all.tar; docker run --rm other:v1 echo loaded
docker push 127.0.0.1:5000/pushed:1 2>&1 | tail -1 | cut -c1-20
docker tag busybox 127.0.0.1:5000/pushed:1; docker push -q 127.0.0.1:5000/pushed:1; docker rmi 127.0.0.1:5000/pushed:1 | head -1
docker pull -q 127.0.0.1:5000/pushed:1; docker run --rm 127.0.0.1:5000/pushed:1 echo pulled
docker pull -q --platform linux/arm64 127.0.0.1:5000/busybox 2>&1 | grep -c -i 'no match\|not found\|platform'
docker history -q busybox | wc -l; docker rmi -f other:v1 127.0.0.1:5000/pushed:1 | wc -l
docker manifest inspect --insecure 127.0.0.1:5000/busybox 2>&1 | grep -c mediaType
