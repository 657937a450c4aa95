cat > Dockerfile <<'D'
# syntax-free, so that nothing is pulled
FROM busybox AS base
ARG WHO=nobody
ENV NAME=value
WORKDIR /w
COPY --chown=5:6 ctx.txt .
RUN echo "$WHO $NAME" > made && cat ctx.txt >> made && stat -c %u:%g ctx.txt >> made
RUN --mount=type=secret,id=s cat /run/secrets/s >> made
RUN --mount=type=cache,target=/cache echo again >> /cache/f; wc -l < /cache/f >> made
RUN --mount=type=bind,source=ctx.txt,target=/bound cat /bound >> made
RUN --mount=type=tmpfs,target=/tt touch /tt/x
RUN <<EOF
echo heredoc >> made
id -u >> made
EOF
USER 77
RUN id -u > /tmp/user
FROM busybox
COPY --from=base /w/made /tmp/user /
HEALTHCHECK NONE
CMD ["sh","-c","cat /made /user"]
D
echo context > ctx.txt; echo hush > secret
docker build -q --build-arg WHO=somebody --secret id=s,src=secret -t built . | cut -c1-7
docker run --rm built
printf 'FROM busybox\nRUN exit 9\n' | docker build -q - 2>&1 | grep -o 'exit code: 9'
printf 'FROM busybox\nRUN --network=none ip -o link | wc -l > /n\nRUN cat /n\nCMD cat /n\n' | docker build -q -t nonet - >/dev/null; docker run --rm nonet
docker build -q -t built2 . --target base --build-arg WHO=x --secret id=s,src=secret >/dev/null; docker run --rm -u 0 built2 wc -l made
docker image rm built built2 nonet | grep -c Untagged; docker builder prune -af | tail -1 | cut -d: -f1
