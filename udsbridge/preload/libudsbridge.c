// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// libudsbridge.so is for LD_PRELOAD: it leads connect(2) and its like on unix sockets
// to where the bridge awaits them. The rules are in the file that the environment
// variable UDSBRIDGE_MAP names, one a line: a path, a tab, and where what is at or
// below it is led. The file is read each time, so that rules can come and go; without
// it, everything is as without this library.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_MAP "/run/udsbridge/preload.map"
// MAP_MAX is the longest file of rules that is read: 64 rules of two addresses.
#define MAP_MAX (64 * 2 * (sizeof(((struct sockaddr_un *)0)->sun_path) + 1))
#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)
#define PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

typedef int (*connect_fn)(int, const struct sockaddr *, socklen_t);
typedef ssize_t (*sendto_fn)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
typedef ssize_t (*sendmsg_fn)(int, const struct msghdr *, int);
typedef int (*getpeername_fn)(int, struct sockaddr *, socklen_t *);

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

// read_map reads the rules into text, which has room for MAP_MAX bytes and a zero.
static int read_map(char *text) {
	const char *path = getenv("UDSBRIDGE_MAP");
	int fd = open(path ? path : DEFAULT_MAP, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	size_t n = 0;
	while (n < MAP_MAX) {
		ssize_t got = read(fd, text + n, MAP_MAX - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		n += got;
	}
	close(fd);
	text[n] = 0;
	return n > 0;
}

// rewrite leads path, which has room for PATH_SIZE bytes, by the rules, or back.
static int rewrite(char *path, int back) {
	char text[MAP_MAX + 1];
	char *rest, *line;
	if (path[0] != '/' || !read_map(text))
		return 0;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *to = strchr(line, '\t'), *from = line;
		if (!to)
			continue;
		*to++ = 0;
		if (back) {
			from = to;
			to = line;
		}
		size_t n = strlen(from), m = strlen(to), tail = strlen(path) - n;
		if (strncmp(path, from, n) != 0 || (path[n] != 0 && path[n] != '/') || m + tail >= PATH_SIZE)
			continue;
		memmove(path + m, path + n, tail + 1);
		memcpy(path, to, m);
		return 1;
	}
	return 0;
}

// lead copies addr to out, led by the rules. It returns 0 if no rule covers it.
static int lead(const struct sockaddr *addr, socklen_t len, struct sockaddr_un *out) {
	if (!addr || len <= PATH_OFFSET || len > sizeof(*out) || addr->sa_family != AF_UNIX)
		return 0;
	memset(out, 0, sizeof(*out));
	memcpy(out, addr, len);
	out->sun_path[PATH_SIZE - 1] = 0;
	return rewrite(out->sun_path, 0);
}

static socklen_t length(const struct sockaddr_un *addr) { return PATH_OFFSET + strlen(addr->sun_path) + 1; }

int connect(int fd, const struct sockaddr *addr, socklen_t len) {
	struct sockaddr_un led;
	int saved = errno;
	connect_fn next = (connect_fn)real("connect");
	if (lead(addr, len, &led)) {
		errno = saved;
		return next(fd, (struct sockaddr *)&led, length(&led));
	}
	errno = saved;
	return next(fd, addr, len);
}

ssize_t sendto(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr, socklen_t len) {
	struct sockaddr_un led;
	sendto_fn next = (sendto_fn)real("sendto");
	if (lead(addr, len, &led))
		return next(fd, buf, size, flags, (struct sockaddr *)&led, length(&led));
	return next(fd, buf, size, flags, addr, len);
}

// bridged tells whether a socket is connected to where the bridge awaits it.
static int bridged(int fd) {
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);
	getpeername_fn next = (getpeername_fn)real("getpeername");
	memset(&addr, 0, sizeof(addr));
	if (next(fd, (struct sockaddr *)&addr, &len) != 0 || addr.sun_family != AF_UNIX || len <= PATH_OFFSET)
		return 0;
	addr.sun_path[PATH_SIZE - 1] = 0;
	return rewrite(addr.sun_path, 1);
}

// passable tells whether a descriptor has a meaning on another machine. The bridge
// judges all of them; this is for those that can be told at a glance.
static int passable(int fd) {
	struct stat st;
	char link[64], path[32] = "/proc/self/fd/";
	char digits[12];
	int i = 0, j = strlen(path);
	if (fstat(fd, &st) != 0 || S_ISBLK(st.st_mode))
		return 0;
	if (S_ISSOCK(st.st_mode)) {
		int listening = 0;
		socklen_t len = sizeof(listening);
		return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && !listening;
	}
	if ((st.st_mode & S_IFMT) != 0)
		return 1;
	do
		digits[i++] = '0' + fd % 10;
	while ((fd /= 10) > 0);
	while (i > 0)
		path[j++] = digits[--i];
	path[j] = 0;
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return 1;
	link[n] = 0;
	return strcmp(link, "anon_inode:[eventfd]") == 0;
}

// unpassable tells whether a message has a descriptor that can't be passed.
static int unpassable(const struct msghdr *msg) {
	struct cmsghdr *c;
	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), i;
		for (i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (!passable(fd))
				return 1;
		}
	}
	return 0;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags) {
	struct sockaddr_un led;
	struct msghdr copy;
	int saved = errno;
	sendmsg_fn next = (sendmsg_fn)real("sendmsg");
	int to_bridge = 0;
	if (msg && lead(msg->msg_name, msg->msg_namelen, &led)) {
		copy = *msg;
		copy.msg_name = &led;
		copy.msg_namelen = length(&led);
		msg = &copy;
		to_bridge = 1;
	}
	if (msg && msg->msg_controllen > 0 && (to_bridge || bridged(fd)) && unpassable(msg)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	errno = saved;
	return next(fd, msg, flags);
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *len) {
	struct sockaddr_un full;
	socklen_t room = len ? *len : 0, n = sizeof(full);
	getpeername_fn next = (getpeername_fn)real("getpeername");
	memset(&full, 0, sizeof(full));
	if (!addr || !len || next(fd, (struct sockaddr *)&full, &n) != 0 || full.sun_family != AF_UNIX || n <= PATH_OFFSET)
		return next(fd, addr, len);
	full.sun_path[PATH_SIZE - 1] = 0;
	if (!rewrite(full.sun_path, 1))
		return next(fd, addr, len);
	n = length(&full);
	memcpy(addr, &full, room < n ? room : n);
	*len = n;
	return 0;
}
