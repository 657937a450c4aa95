// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// patience is how long any one command may take. Nothing may ever hang.
const patience = 60 * time.Second

// attempt runs a command line in an environment and returns what it prints, and its exit status.
func attempt(t *testing.T, env *lab.Env, script string) (string, int) {
	t.Helper()
	// Not the test's own context, which has ended when it cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := env.Shell(ctx, script).CombinedOutput()
	code := lab.ExitCode(err)
	if ctx.Err() != nil || err != nil && code < 0 {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out)), code
}

// must runs a command line on the DPU that has to succeed.
func must(t *testing.T, script string) string {
	t.Helper()
	return mustIn(t, shared.DPU, script)
}

func mustIn(t *testing.T, env *lab.Env, script string) string {
	t.Helper()
	out, code := attempt(t, env, script)
	if code != 0 {
		t.Fatalf("%s: exit status %d\n%s", script, code, out)
	}
	return out
}

// fails runs a command line on the DPU that has to fail.
func fails(t *testing.T, script string) {
	t.Helper()
	if out, code := attempt(t, shared.DPU, script); code == 0 {
		t.Fatalf("%s: has succeeded\n%s", script, out)
	}
}

// eventually runs a command line on the DPU until it prints the text, for what a server or the system does by itself
// a moment later.
func eventually(t *testing.T, text, script string) {
	t.Helper()
	eventuallyIn(t, shared.DPU, text, script)
}

func eventuallyIn(t *testing.T, env *lab.Env, text, script string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		out, _ := attempt(t, env, script)
		if strings.Contains(out, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: no %q in %q", script, text, out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// name is a name that says whose it is.
func name(t *testing.T, more string) string {
	return strings.ToLower(strings.Trim(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(t.Name(), "-"), "-")) + more
}

// start runs a container in the background, which is removed when the test ends.
func start(t *testing.T, id, options, command string) {
	t.Helper()
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker rm -f -v "+id) })
	must(t, "docker run -d --name "+id+" "+options+" "+shared.Image("busybox")+" "+command)
}

// serve is the command of a container that serves the text by HTTP on port 80.
func serve(text string) string {
	return `sh -c 'mkdir -p /tmp/www; echo "` + text + `" >/tmp/www/index.html; exec httpd -f -p ${PORT:-80} -h /tmp/www'`
}

// idle is the command of a container that only waits.
const idle = "sleep 3600"

// withPeer are options that give a container peerProgram as /peer.
const withPeer = "-v " + peerProgram + ":/peer:ro "

// get is a command line, for a shell inside busybox, that asks a server by HTTP. (Debian's static wget and its C
// library do not get on.)
func get(host string) string {
	return `printf "GET / HTTP/1.0\r\n\r\n" | nc -w 5 ` + host + " 80"
}

// ask is a command line on the DPU that asks a DNS server on a port of the DPU for an address, and prints the answer
// in hexadecimal.
func ask(host string, port int) string {
	query := "\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00"
	for _, label := range strings.Split(host, ".") {
		query += fmt.Sprintf("\\x%02x%s", len(label), label)
	}
	query += "\\x00\\x00\\x01\\x00\\x01"
	return fmt.Sprintf("timeout 3 bash -c 'exec 3<>/dev/udp/127.0.0.1/%d; printf \"%s\" >&3; head -c 50 <&3 | od -An -v -tx1 | tr -d \" \\n\"'", port, query)
}

// in is a command line that runs another inside a container.
func in(id, script string) string { return "docker exec " + id + " sh -c '" + script + "'" }

// network makes a network that is removed when the test ends.
func network(t *testing.T, options string) string {
	t.Helper()
	id := name(t, "")
	must(t, "docker network create "+options+" "+id)
	t.Cleanup(func() { mustIn(t, shared.DPU, "docker network rm "+id) })
	return id
}

// address returns the IPv4 address that docker says a container has.
func address(t *testing.T, id string) string {
	t.Helper()
	return must(t, "docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "+id)
}

// leavesNothing makes the test fail if, on either side, more is there after it than before.
func leavesNothing(t *testing.T) {
	t.Helper()
	before := observe(t)
	t.Cleanup(func() {
		deadline := time.Now().Add(15 * time.Second)
		for {
			left := observe(t).Since(before)
			if len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func observe(t *testing.T) lab.Observation {
	t.Helper()
	all := lab.Observation{}
	for _, env := range []*lab.Env{shared.Host, shared.DPU} {
		o, err := env.Observe()
		if err != nil {
			t.Fatal(err)
		}
		for line := range o {
			all[env.Name()+": "+line] = true
		}
	}
	return all
}

// offloadOnly skips what has no meaning where nothing is moved.
func offloadOnly(t *testing.T) {
	t.Helper()
	if lab.AskedKind() != lab.Offload {
		t.Skip("nothing is moved in a stock lab")
	}
}
