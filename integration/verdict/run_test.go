// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module makes a module of one package whose tests are body, and goes there.
func module(t *testing.T, body string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example.test/m\n\ngo 1.24\n",
		"m_test.go": "package m\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" + body,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// once fails the first time it is run in its folder.
const once = `
func once(t *testing.T) {
	if os.Mkdir("ran", 0o700) == nil {
		t.Error("the first time")
	}
}

func TestGood(t *testing.T) {}
`

func TestAgain(t *testing.T) {
	for _, c := range []struct {
		name, body, says string
		again, ok        bool
	}{
		{"by chance", once + "func TestOnce(t *testing.T) { once(t) }", "unstable: example.test/m TestOnce", true, true},
		{"a part", once + `func TestOnce(t *testing.T) { t.Run("a/b", once) }`, "unstable: example.test/m TestOnce", true, true},
		{"a panic", once + `func TestOnce(t *testing.T) { if os.Mkdir("ran", 0o700) == nil { panic("first") } }`, "unstable: example.test/m TestOnce", true, true},
		{"the package", once + `func TestMain(m *testing.M) { m.Run(); if os.Mkdir("ran", 0o700) == nil { os.Exit(1) } }`, "unstable: example.test/m:", true, true},
		{"not asked for", once + "func TestOnce(t *testing.T) { once(t) }", "--- FAIL: TestOnce", false, false},
		{"always", once + `func TestBad(t *testing.T) { once(t); t.Error("again") }`, "again: example.test/m TestBad", true, false},
		{"a skip that may not be", once + `func TestOnce(t *testing.T) { once(t); if !t.Failed() { t.Skip("no time") } }`, "again: example.test/m TestOnce", true, false},
		{"not built", once + "func TestOnce(t *testing.T) { twice(t) }", "undefined: twice", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			module(t, c.body)
			var out bytes.Buffer
			err := Run(t.Context(), []string{"-timeout", "2m", "./..."}, c.again, &out)
			if (err == nil) != c.ok || !strings.Contains(out.String(), c.says) {
				t.Errorf("%v, and no %q in %s", err, c.says, &out)
			}
		})
	}
}

func TestWorthAgain(t *testing.T) {
	tests := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	for _, c := range []struct {
		name string
		r    Result
		want bool
	}{
		{"nothing", Result{}, false},
		{"a handful", Result{broken: map[string]map[string]bool{"a": tests("A", "B"), "b": nil, "c": tests("C", "D")}}, true},
		{"more", Result{broken: map[string]map[string]bool{"a": tests("A", "B"), "b": nil, "c": tests("C", "D", "E")}}, false},
		{"unbuilt", Result{broken: map[string]map[string]bool{"a": nil}, unbuilt: true}, false},
	} {
		if got := c.r.worthAgain(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestArguments(t *testing.T) {
	f := failure{"github.com/container-offload/offload/rexec", []string{"TestA", "TestB"}}
	got := f.arguments([]string{"-race", "-run", "TestX/y", "-timeout", "12m", "./integration/run", "github.com/container-offload/offload"})
	want := []string{"-race", "-run", "TestX/y", "-timeout", "12m", "-count=1", "-run", "^(TestA|TestB)$", f.pkg}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
