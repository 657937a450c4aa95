docker run -d --name r -v rdata:/data redis redis-server --dir /data --appendonly yes >/dev/null 2>&1
until_ok docker exec r redis-cli ping; docker exec r redis-cli ping
for i in 1 2 3 4 5; do docker exec r redis-cli incr n; done
docker restart r >/dev/null; until_ok docker exec r redis-cli ping; docker exec r redis-cli get n
docker run --rm --network container:r redis redis-cli -h 127.0.0.1 get n
