// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func report() *Report {
	r := &Report{Machine: "a test", Seed: 7, Rounds: 2, Took: 61}
	first, second := catalogue[0], catalogue[1]
	r.add(second, outcome{recovery: 1500 * time.Millisecond, notes: []string{"one | two"}})
	r.add(first, outcome{recovery: time.Second})
	r.add(second, outcome{err: errors.New("it\nhangs"), notes: []string{"one | two"}})
	r.inOrder()
	return r
}

// TestReport holds what is counted, and in which order.
func TestReport(t *testing.T) {
	r := report()
	if r.Held() {
		t.Error("it calls a run good in which something broke")
	}
	if len(r.Rows) != 2 || r.Rows[0].Fault != catalogue[0].name {
		t.Fatalf("rows %+v", r.Rows)
	}
	row := r.Rows[1]
	if row.Injected != 2 || row.Held != 1 || row.Slowest != 1.5 || len(row.Found) != 1 || len(row.Notes) != 1 {
		t.Errorf("row %+v", row)
	}
	var out strings.Builder
	if err := r.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Seed 7, 3 injections of 2 faults in 1m1s; 2 went as expected", `| 2 | 1 | 1.5 s | it hangs; one \| two |`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
}

// TestRender holds that a document keeps all but its old table, and that the report survives being written.
func TestRender(t *testing.T) {
	dir := t.TempDir()
	if err := report().Write(filepath.Join(dir, "a", "faults.json")); err != nil {
		t.Fatal(err)
	}
	r, err := Read(filepath.Join(dir, "a", "faults.json"))
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "faults.md")
	if err := os.WriteFile(page, []byte("before\n"+tableBegins+"old\n"+tableEnds+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Render(page); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "before\n"+tableBegins) || !strings.HasSuffix(got, tableEnds+"after\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, catalogue[1].name) {
		t.Error(got)
	}
	if err := os.WriteFile(page, []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Render(page); err == nil {
		t.Error("it found a place where there is none")
	}
}
