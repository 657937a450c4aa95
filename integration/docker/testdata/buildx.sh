docker buildx version | cut -d' ' -f1
docker buildx ls --format '{{.Name}} {{.DriverEndpoint}}' | head -1
printf 'FROM busybox\nRUN echo hi > /f\n' > Dockerfile
docker buildx build -q --output type=local,dest=out . ; cat out/f; ls out | wc -l
docker buildx build -q --output type=tar,dest=o.tar .; tar tf o.tar | grep -c '^f$'
docker buildx du | tail -1 | cut -c1-5
