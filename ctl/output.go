// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// formatFlag is the flag -o: how a command prints its result.
type formatFlag struct{ json bool }

// String implements pflag.Value.
func (f *formatFlag) String() string {
	if f.json {
		return "json"
	}
	return "text"
}

// Set implements pflag.Value.
func (f *formatFlag) Set(s string) error {
	if s != "text" && s != "json" {
		return fmt.Errorf("%q is not known; use text or json", s)
	}
	f.json = s == "json"
	return nil
}

// Type implements pflag.Value.
func (f *formatFlag) Type() string { return "format" }

// add gives a command the flag.
func (f *formatFlag) add(cmd *cobra.Command) {
	cmd.Flags().VarP(f, "output", "o", "how to print: text or json")
	// The only error there can be is a flag without that name.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// print prints value as JSON, or has text print it for people.
func (f *formatFlag) print(w io.Writer, value any, text func(*printer)) error {
	if f.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	p := &printer{colour: terminal(w)}
	text(p)
	_, err := w.Write(p.out.Bytes())
	return err
}

// terminal tells whether w is a terminal whose user wants colours.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// style is how a piece of text stands out on a terminal.
type style string

// The styles.
const (
	plain  style = ""
	bold   style = "1"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// printer gathers text for people.
type printer struct {
	out    bytes.Buffer
	colour bool
}

func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(&p.out, format+"\n", args...)
}

// paint gives text a style, on a terminal.
func (p *printer) paint(s style, text string) string {
	if !p.colour || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// cell is one field of a table.
type cell struct {
	text  string
	style style
}

// cells makes a row of unstyled fields.
func cells(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, t := range texts {
		row[i].text = t
	}
	return row
}

// table prints rows below a heading, in columns. An empty field prints as "-".
func (p *printer) table(heading []string, rows [][]cell) {
	width := make([]int, len(heading))
	head := cells(heading...)
	for i := range head {
		head[i].style = bold
	}
	all := append([][]cell{head}, rows...)
	for _, row := range all {
		for i := range row {
			if row[i].text == "" {
				row[i].text = "-"
			}
			width[i] = max(width[i], utf8.RuneCountInString(row[i].text))
		}
	}
	for _, row := range all {
		for i, c := range row {
			p.out.WriteString(p.paint(c.style, c.text))
			if i < len(row)-1 {
				p.out.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		p.out.WriteByte('\n')
	}
}
