// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// client PATH [epoll]: connect, print who the peer is and what it says; with epoll,
// try to pass an epoll instance first.

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int pass_epoll(int s) {
	int fd = epoll_create1(0);
	char control[CMSG_SPACE(sizeof(fd))] = {0};
	struct iovec io = {.iov_base = "x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(s, &msg, 0) < 0;
}

int main(int argc, char **argv) {
	struct sockaddr_un addr = {.sun_family = AF_UNIX}, peer = {0};
	socklen_t len = sizeof(peer);
	char buf[100];
	ssize_t n;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(addr.sun_path, argv[1], sizeof(addr.sun_path) - 1);
	if (connect(s, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		perror("connect");
		return 1;
	}
	if (argc > 2 && pass_epoll(s)) {
		perror("sendmsg");
		return 1;
	}
	getpeername(s, (struct sockaddr *)&peer, &len);
	printf("peer %s\n", peer.sun_path);
	while ((n = read(s, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, n, stdout);
	return 0;
}
