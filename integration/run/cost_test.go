// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/container-offload/offload/status"
)

// cost is what containers have cost so far, in counts that are the same on every machine.
type cost struct {
	files uint64 // requests for files of the HOST
	bytes uint64 // over the daemons' link, both ways
	pids  uint64 // processes and threads started on the HOST, those in containers included
}

func costSoFar(t *testing.T) (c cost) {
	t.Helper()
	var all []struct {
		Report *status.Report `json:"report"`
	}
	if err := json.Unmarshal([]byte(must(t, "offloadctl", "status", "-o", "json")), &all); err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Report == nil {
			continue
		}
		for _, m := range d.Report.Mounts {
			c.files += m.Requests
		}
		for _, l := range d.Report.Links {
			c.bytes += l.BytesIn + l.BytesOut
		}
	}
	c.pids = hostCount(t, "ns_last_pid")
	return c
}

// hostCount reads a number of the HOST's kernel.
func hostCount(t *testing.T, name string) uint64 {
	t.Helper()
	r := tryIn(t, shared.Host, "", "cat", "/proc/sys/kernel/"+name)
	n, err := strconv.ParseUint(strings.TrimSpace(r.stdout), 10, 64)
	if err != nil {
		t.Fatalf("read %s of the HOST: %v: %s", name, err, r.all())
	}
	return n
}

// TestCost holds what one docker run costs to about what it costs today: times differ from machine to machine, and
// a round trip more does not show in them.
func TestCost(t *testing.T) {
	offloadOnly(t)
	leavesNothing(t)
	const runs = 10
	one := func() { docker(t, "run", "--rm", "--network", "none", image("busybox"), "true") }
	one() // fills caches
	before := costSoFar(t)
	for range runs {
		one()
	}
	after := costSoFar(t)
	if after.pids < before.pids { // They have begun anew.
		after.pids += hostCount(t, "pid_max")
	}
	files, bytes, pids := (after.files-before.files)/runs, (after.bytes-before.bytes)/runs, (after.pids-before.pids)/runs
	t.Logf("one docker run: %d requests for files, %d bytes over the daemons' link, %d processes and threads on the HOST", files, bytes, pids)
	if files == 0 || bytes == 0 || pids == 0 {
		t.Fatal("nothing was counted")
	}
	const mostFiles, mostBytes, mostPIDs = 80, 80_000, 100
	if files > mostFiles || bytes > mostBytes || pids > mostPIDs {
		t.Errorf("more than %d requests, %d bytes or %d processes and threads", mostFiles, mostBytes, mostPIDs)
	}
}
