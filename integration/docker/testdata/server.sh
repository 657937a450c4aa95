docker run -d --name red -v rdata:/data redis redis-server --dir /data --appendonly yes >/dev/null 2>&1
until_ok docker exec red redis-cli ping; docker exec red redis-cli ping
for i in 1 2 3 4 5; do docker exec red redis-cli incr n; done
docker restart red >/dev/null; until_ok docker exec red redis-cli ping; docker exec red redis-cli get n
docker run --rm --network container:red redis redis-cli -h 127.0.0.1 get n
