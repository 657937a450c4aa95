cat > compose.yaml <<'Y'
name: demo
services:
  web:
    image: busybox
    command: sh -c 'mkdir -p /w; echo hello > /w/index.html; httpd -f -p 80 -h /w'
    volumes: ["data:/data"]
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 300ms, retries: 50}
  app:
    image: busybox
    depends_on: {web: {condition: service_healthy}}
    command: sh -c 'wget -qO- http://web/; sleep 1000'
    volumes: ["data:/data"]
volumes: {data: {}}
Y
docker compose up -d --quiet-pull >/dev/null 2>&1; echo $?
docker compose ps --format '{{.Service}} {{.State}}' | sort
until_ok sh -c 'docker compose logs app | grep hello'; docker compose logs --no-log-prefix app
docker compose exec -T web sh -c 'echo shared > /data/f'; docker compose exec -T app cat /data/f
docker compose up -d --scale web=2 >/dev/null 2>&1; docker compose ps -q web | wc -l
docker compose down -v >/dev/null 2>&1; echo $?; docker ps -aq | wc -l; docker volume ls -q | wc -l
