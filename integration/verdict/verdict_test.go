// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

const stream = `{"Action":"start","Package":"p/integration/run"}
{"Action":"run","Package":"p/integration/run","Test":"TestA"}
{"Action":"output","Package":"p/integration/run","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p/integration/run","Test":"TestA","Output":"    a_test.go:7: nothing is moved in a stock lab\n"}
{"Action":"output","Package":"p/integration/run","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p/integration/run","Test":"TestA","Elapsed":0}
# not an event
{"Action":"output","Package":"p/integration/run","Test":"TestB","Output":"    b_test.go:7: no time today\n"}
{"Action":"output","Package":"p/integration/run","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p/integration/run","Test":"TestB","Elapsed":0}
{"Action":"output","Package":"p/integration/run","Test":"TestC","Output":"--- PASS: TestC (0.00s)\n"}
{"Action":"pass","Package":"p/integration/run","Test":"TestC","Elapsed":0}
{"Action":"output","Package":"p/integration/run","Output":"ok  \tp/integration/run\t0.1s\n"}
{"Action":"pass","Package":"p/integration/run","Elapsed":0.1}
{"Action":"skip","Package":"p/none","Elapsed":0}
`

func TestRead(t *testing.T) {
	var out bytes.Buffer
	result, err := Read(strings.NewReader(stream), &out)
	if err != nil {
		t.Fatal(err)
	}
	skips := result.Skips
	want := []Skip{
		{"p/integration/run", "TestA", "a_test.go:7: nothing is moved in a stock lab"},
		{"p/integration/run", "TestB", "b_test.go:7: no time today"},
	}
	if !slices.Equal(skips, want) {
		t.Errorf("%q", skips)
	}
	for _, line := range []string{"--- SKIP: TestA", "--- PASS: TestC", "ok  \tp/integration/run", "# not an event"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in %q", line, out.String())
		}
	}
	if strings.Contains(out.String(), "=== RUN") {
		t.Errorf("%q", out.String())
	}
	if err := tell(skips[:1], &out); err != nil || !strings.Contains(out.String(), "skipped: p/integration/run TestA") {
		t.Errorf("a skip that may be: %v", err)
	}
	if err := tell(skips, &out); err == nil || !strings.Contains(err.Error(), "TestB") || strings.Contains(err.Error(), "TestA:") {
		t.Errorf("a skip that may not be: %v", err)
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		skip Skip
		ok   bool
	}{
		{Skip{"o/integration/run", "TestExitStatus/ctr/killed", "x: pid 1 is not killed by its own signals, and"}, true},
		{Skip{"o/integration/run", "TestExitStatus/ctrl", "x: pid 1 is not killed by its own signals, and"}, false},
		{Skip{"o/integration/run", "TestExitStatus/ctr/killed", "for another reason"}, false},
		{Skip{"o/remotefs", "TestX", "nothing is moved in a stock lab"}, false},
		{Skip{"o/remotefs", "TestX", ""}, false},
	} {
		if _, ok := allowed(c.skip); ok != c.ok {
			t.Errorf("%+v: %v", c.skip, ok)
		}
	}
}
