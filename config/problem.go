// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	// File is the path the file was read from.
	File string
	// Line and Column say where, both from 1; 0 if the problem is that
	// something is not there.
	Line, Column int
	// Key is the key in question, dotted, such as "link.address"; empty if the
	// problem is not with one key.
	Key string
	// Text says what is wrong and what would be right.
	Text string
}

// Error returns the problem on one line, as compilers print theirs.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems returns every problem that err, as returned by this package, is made
// of.
func Problems(err error) []*Problem {
	var one *Problem
	switch joined, ok := err.(interface{ Unwrap() []error }); {
	case ok:
		var all []*Problem
		for _, e := range joined.Unwrap() {
			all = append(all, Problems(e)...)
		}
		return all
	case errors.As(err, &one):
		return []*Problem{one}
	}
	return nil
}

// asError returns the problems as one error, in the order of the file, those
// without a place last; nil if there are none.
func asError(problems []*Problem) error {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
