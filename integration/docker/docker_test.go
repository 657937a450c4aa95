// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-offload/offload/integration/lab"
)

// patience is how long a script may take on either side.
const patience = 2 * time.Minute

// pair are the two labs, the offload one first.
var pair [2]*lab.Lab

func TestMain(m *testing.M) { lab.Main(m, openPair) }

func openPair(ctx context.Context) (labs []*lab.Lab, err error) {
	for i, kind := range []lab.Kind{lab.Offload, lab.Stock} {
		l, err := lab.Open(ctx, lab.Options{Kind: kind})
		if err != nil {
			return labs, err
		}
		pair[i] = l
		labs = append(labs, l)
		for _, image := range []string{"busybox", "redis"} {
			name := l.Image(image)
			if err := l.Warm(ctx, []string{"docker", "pull", "-q", name}, []string{"docker", "tag", name, image}); err != nil {
				return labs, err
			}
		}
	}
	return labs, nil
}

// outcome is what a script did.
type outcome struct {
	output string
	code   int
	err    error
}

// TestVerbs runs each script on both sides and compares.
func TestVerbs(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sh"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, string(text))
		})
	}
}

func compare(t *testing.T, script string) {
	var outcomes [2]outcome
	var wg sync.WaitGroup
	for i, l := range pair {
		wg.Go(func() { outcomes[i] = run(t.Context(), l, script) })
	}
	wg.Wait()
	ours, stock := outcomes[0], outcomes[1]
	if err := errors.Join(ours.err, stock.err); err != nil {
		t.Fatalf("%v\n--- offload\n%s--- stock\n%s", err, ours.output, stock.output)
	}
	if stock.code != 0 {
		t.Fatalf("the control itself fails with %d:\n%s", stock.code, stock.output)
	}
	if strings.TrimSpace(stock.output) == "" {
		t.Fatal("the script prints nothing, so nothing is compared")
	}
	if strings.Contains(stock.output, "gave up: ") {
		t.Fatalf("the control waits for what does not come:\n%s", stock.output)
	}
	same := ours.code == stock.code && ours.output == stock.output
	t.Logf("the control's output:\n%s", stock.output)
	reason, known := knownDifference(script)
	switch {
	case known && same:
		t.Errorf("does not differ any more (%s): take the line out", reason)
	case !known && !same:
		t.Errorf("exit status %d and %d\n--- offload\n%s--- stock\n%s", ours.code, stock.code, ours.output, stock.output)
	}
}

// knownDifference returns what follows "# not: ".
func knownDifference(script string) (string, bool) {
	for line := range strings.Lines(script) {
		if reason, ok := strings.CutPrefix(strings.TrimSpace(line), "# not: "); ok {
			return reason, true
		}
	}
	return "", false
}

// prelude gives scripts what they share. until_ok waits for a command to succeed.
// A container's stdout and stderr have no order between them, on any dockerd: docker's
// stderr is shown once the command has ended, after its stdout.
const prelude = `set -u
exec 2>&1 </dev/null
docker() {
	local errors status
	errors=$(mktemp) && command docker "$@" 2>"$errors"
	status=$?
	cat "$errors" >&2
	rm -f "$errors"
	return $status
}
until_ok() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "gave up: $*"; return 1; }
`

// epilogue removes what a script has left, so that the next one finds nothing.
const epilogue = `
docker ps -aq | xargs -r docker rm -f -v
docker volume ls -q | xargs -r docker volume rm -f
docker network ls -q --filter type=custom | xargs -r docker network rm
rm -rf /srv/work
`

func run(ctx context.Context, l *lab.Lab, script string) outcome {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out bytes.Buffer
	c := l.DPU.Command(ctx, "bash", "-c", prelude+"mkdir -p /srv/work; cd /srv/work\n"+script)
	c.Stdout = &out
	c.WaitDelay = 5 * time.Second // what a script left behind must not hold up the test
	err := c.Run()
	o := outcome{output: normalise(out.String()), code: lab.ExitCode(err)}
	if ctx.Err() != nil {
		o.err = fmt.Errorf("%s did not end in %v", l.Kind, patience)
	}
	clean, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer stop()
	if text, err := l.DPU.Shell(clean, epilogue).CombinedOutput(); err != nil {
		o.err = errors.Join(o.err, fmt.Errorf("clean up %s: %w: %s", l.Kind, err, text))
	}
	return o
}

// replaced is what may differ between two runs of one command.
var replaced = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`(Less than a second|\d+ (seconds?|minutes?)|About a (minute|second))`), "AWHILE"},
	{regexp.MustCompile(`\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b`), "MAC"},
}

func normalise(s string) string {
	for _, r := range replaced {
		s = r.pattern.ReplaceAllString(s, r.by)
	}
	return s
}
