// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// maxAgain is how many failed tests are run again at most. More of them are not chance.
const maxAgain = 5

// Run runs go test with the arguments and prints its ordinary lines to out, without those that only say that a test
// begins. It fails if a test did, or if one was skipped that may not be.
//
// With again, tests that fail are run once more, alone. One that passes then is told as unstable and does not fail the
// run: it met what else ran on the machine, and it is still to be looked into. More than a handful of failures, and what
// could not be built, are not tried again.
func Run(ctx context.Context, args []string, again bool, out io.Writer) error {
	first, err := goTest(ctx, args, out)
	skips := first.Skips
	if err != nil && again && first.worthAgain() {
		unstable := first.failed()
		for _, pkg := range unstable {
			fmt.Fprintf(out, "again: %s\n", pkg)
		}
		err = nil
		for _, pkg := range unstable {
			second, failure := goTest(ctx, pkg.arguments(args), out)
			err = errors.Join(err, failure)
			skips = append(skips, second.Skips...)
		}
		if err == nil {
			for _, pkg := range unstable {
				fmt.Fprintf(out, "unstable: %s: failed, and passed when it ran again, alone\n", pkg)
			}
		}
	}
	if told := tell(skips, out); told != nil {
		err = errors.Join(err, told)
	}
	return err
}

// goTest runs go test once.
func goTest(ctx context.Context, args []string, out io.Writer) (Result, error) {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return Result{}, fmt.Errorf("run go test: %w", err)
	}
	if err := command.Start(); err != nil {
		return Result{}, fmt.Errorf("run go test: %w", err)
	}
	result, readErr := Read(events, out)
	if err := errors.Join(readErr, command.Wait()); err != nil {
		return result, fmt.Errorf("go test: %w", err)
	}
	return result, nil
}

// failure is what failed of one package.
type failure struct {
	pkg string
	// tests are the tests that failed, without their parts. None is the package as a whole.
	tests []string
}

func (f failure) String() string {
	if len(f.tests) == 0 {
		return f.pkg
	}
	return f.pkg + " " + strings.Join(f.tests, " ")
}

// arguments are those of go test that run just what failed, with the flags of args.
func (f failure) arguments(args []string) []string {
	flags := slices.DeleteFunc(slices.Clone(args), isPackage)
	flags = append(flags, "-count=1")
	if len(f.tests) > 0 {
		flags = append(flags, "-run", "^("+strings.Join(f.tests, "|")+")$")
	}
	return append(flags, f.pkg)
}

// isPackage tells packages from flags and their values.
func isPackage(argument string) bool {
	return strings.HasPrefix(argument, "./") || strings.HasPrefix(argument, "github.com/container-offload/offload")
}
