docker run -d --name sick --health-cmd 'test -f /ok' --health-interval 300ms --health-retries 2 --health-timeout 5s busybox sleep 1000 >/dev/null
until_ok sh -c 'docker inspect -f "{{.State.Health.Status}}" sick | grep -x unhealthy'; echo unhealthy
docker exec sick touch /ok
until_ok sh -c 'docker inspect -f "{{.State.Health.Status}}" sick | grep -x healthy'; docker inspect -f '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' sick
