// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// all makes the images from the extracted packages.
func all(ctx context.Context, tree string) (map[string]v1.Image, error) {
	base, err := busybox(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	shell := v1.Config{Env: []string{path}, Cmd: []string{"sh"}}
	gzip, err := layer(compression.GZip, base)
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	zstd, err := layer(compression.ZStd, base)
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	server, err := redis(tree)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	pages, err := nginx(tree)
	if err != nil {
		return nil, fmt.Errorf("nginx: %w", err)
	}
	odd, err := oddLayers()
	if err != nil {
		return nil, fmt.Errorf("layers: %w", err)
	}
	serverConfig := v1.Config{
		Env: []string{path}, Cmd: []string{"redis-server", "--protected-mode", "no", "--dir", "/data"}, User: "999:999",
		WorkingDir: "/data", Volumes: map[string]struct{}{"/data": {}},
		ExposedPorts: map[string]struct{}{"6379/tcp": {}},
	}
	pagesConfig := v1.Config{
		Env: []string{path}, Cmd: []string{"nginx"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}, StopSignal: "SIGQUIT",
	}
	images := map[string]v1.Image{}
	for name, make := range map[string]func() (v1.Image, error){
		"busybox":      func() (v1.Image, error) { return compose(shell, gzip) },
		"busybox-zstd": func() (v1.Image, error) { return compose(shell, zstd) },
		"redis":        func() (v1.Image, error) { return compose(serverConfig, gzip, server) },
		"nginx":        func() (v1.Image, error) { return compose(pagesConfig, gzip, pages) },
		"layers":       func() (v1.Image, error) { return compose(shell, append([]v1.Layer{gzip}, odd...)...) },
	} {
		image, err := make()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		images[name] = image
	}
	return images, nil
}

// busybox is a base system of one static program under all its names.
func busybox(ctx context.Context, tree string) ([]entry, error) {
	program, err := copied(tree, "bin/busybox")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(tree, "bin/busybox"), "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("list applets: %w", err)
	}
	applets := strings.Fields(string(out))
	slices.Sort(applets)
	entries := []entry{program}
	for _, applet := range applets {
		if applet != program.header.Name {
			entries = append(entries, symlink(applet, "/"+program.header.Name))
		}
	}
	return append(entries,
		directory("dev", 0o755), directory("proc", 0o755), directory("sys", 0o755), directory("run", 0o755),
		directory("root", 0o700), directory("home", 0o755), directory("var/spool", 0o755), directory("tmp", 0o1777),
		symlink("var/run", "/run"),
		file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n"+
			"redis:x:999:999:redis:/data:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")),
		file("etc/group", 0o644, []byte("root:x:0:\nuser:x:1000:\nstaff:x:50:user\nredis:x:999:\nnogroup:x:65534:\n")),
		file("etc/shadow", 0o640, []byte("root:*:::::::\nuser:*:::::::\n")),
		file("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files dns\n")),
	), nil
}

// redis is the server, its client, and the libraries of both.
func redis(tree string) (v1.Layer, error) {
	programs := []string{"usr/bin/redis-check-rdb", "usr/bin/redis-cli", "usr/bin/redis-benchmark"}
	names, err := libraries(tree, programs...)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, name := range append(names, programs...) {
		e, err := copied(tree, name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	data := directory("data", 0o755)
	data.header.Uid, data.header.Gid = 999, 999
	return layer(compression.GZip, append(entries, symlink("usr/bin/redis-server", "redis-check-rdb"), data))
}

// nginxConfig is a server of files that logs to where containers log.
const nginxConfig = `daemon off;
user nobody nogroup;
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/stderr;
events {}
http {
    include mime.types;
    access_log /dev/stdout;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
    }
}
`

// nginx is the server, its libraries, a configuration and a page.
func nginx(tree string) (v1.Layer, error) {
	const program = "usr/sbin/nginx"
	paths, err := libraries(tree, program)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, name := range append(paths, program, "etc/nginx/mime.types") {
		e, err := copied(tree, name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return layer(compression.GZip, append(entries,
		file("etc/nginx/nginx.conf", 0o644, []byte(nginxConfig)),
		file("usr/share/nginx/html/index.html", 0o644, []byte("<!DOCTYPE html>\n<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n")),
		directory("var/log/nginx", 0o755), directory("var/lib/nginx", 0o755),
	))
}

// oddLayers has a plain, a zstd and a gzip layer with what is easily got wrong when layers are applied.
func oddLayers() ([]v1.Layer, error) {
	owned := file("odd/owned", 0o640, []byte("1234:5678\n"))
	owned.header.Uid, owned.header.Gid = 1234, 5678
	capable := file("odd/capable", 0o755, []byte("#!/bin/sh\necho capable\n"))
	capable.header.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": netBindCapability(), "SCHILY.xattr.user.note": "kept",
	}
	first, err := layer(compression.None, []entry{
		directory("odd", 0o755), owned, capable,
		file("odd/setuid", 0o4755, []byte("#!/bin/sh\nid -u\n")),
		file("odd/linked", 0o644, []byte("one inode\n")),
		{header: tar.Header{Typeflag: tar.TypeLink, Name: "odd/link", Linkname: "odd/linked", Mode: 0o644}},
		{header: tar.Header{Typeflag: tar.TypeChar, Name: "odd/null", Mode: 0o666, Devmajor: 1, Devminor: 3}},
		{header: tar.Header{Typeflag: tar.TypeFifo, Name: "odd/fifo", Mode: 0o600}},
		file("odd/zeros", 0o644, make([]byte, 16<<20)),
		file("odd/removed", 0o644, []byte("must not be seen\n")),
		file("odd/opaque/hidden", 0o644, []byte("must not be seen\n")),
		file("odd/replaced/inside", 0o644, []byte("must not be seen\n")),
		file("odd/name with spaces and ünïcode", 0o644, []byte("named\n")),
		file("odd/"+strings.Repeat("long", 50), 0o644, []byte("long name\n")),
	})
	if err != nil {
		return nil, err
	}
	second, err := layer(compression.ZStd, []entry{
		file("odd/.wh.removed", 0, nil), file("odd/opaque/.wh..wh..opq", 0, nil),
		file("odd/opaque/shown", 0o644, []byte("shown\n")),
	})
	if err != nil {
		return nil, err
	}
	third, err := layer(compression.GZip, []entry{file("odd/replaced", 0o644, []byte("a file where a directory was\n"))})
	if err != nil {
		return nil, err
	}
	return []v1.Layer{first, second, third}, nil
}

// netBindCapability is the value of a security.capability attribute that gives CAP_NET_BIND_SERVICE, effective and
// permitted, in the kernel's version 2 format.
func netBindCapability() string {
	var value bytes.Buffer
	for _, word := range []uint32{0x02000001, 1 << 10, 0, 0, 0} {
		_ = binary.Write(&value, binary.LittleEndian, word)
	}
	return value.String()
}
