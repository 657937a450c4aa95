docker network create --subnet 172.30.0.0/24 net | wc -c; docker network ls --format '{{.Name}} {{.Driver}}' | sort
docker run -d --name web --network net --ip 172.30.0.9 --network-alias www busybox sh -c 'mkdir -p /w; echo page > /w/index.html; httpd -f -p 80 -h /w' >/dev/null
until_ok docker exec web wget -qO- http://127.0.0.1/
docker run --rm --network net busybox wget -qO- http://www/
docker run --rm --network net busybox nslookup -type=a web | grep -o '172.30.0.9' | head -1
docker run -d --name pub -p 127.0.0.1:8099:80 busybox sh -c 'mkdir -p /w; echo published > /w/index.html; httpd -f -p 80 -h /w' >/dev/null
docker port pub; until_ok wget -qO- http://127.0.0.1:8099/; wget -qO- http://127.0.0.1:8099/
docker network connect net pub; docker exec pub ip -o -4 addr | wc -l; docker network disconnect net pub; docker exec pub ip -o -4 addr | wc -l
docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' net
docker network rm net; echo $?
docker run --rm --network none busybox ip -o link | wc -l
