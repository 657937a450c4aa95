// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// place is where in a file something stands, both from 1.
type place struct{ line, column int }

// document is a file's text, checked against the keys it may have, with the
// place of each key. A key inside an array of tables is named with its index,
// such as "export[0].path".
type document struct {
	file     string
	root     *field
	other    *field
	parser   unstable.Parser
	places   map[string]place
	problems []*Problem
}

// scan reads data, which comes from file, as a file of the keys in root. What
// is wrong with it is in the document's problems; an error is returned if it is
// not TOML or of another version.
func scan(file string, data []byte, root, other *field) (*document, error) {
	d := &document{file: file, root: root, other: other, places: make(map[string]place)}
	var version struct {
		Version any `toml:"version"`
	}
	if err := toml.Unmarshal(data, &version); err != nil {
		return nil, d.syntax(err)
	}
	d.parser.Reset(data)
	d.walk()
	if p := d.checkVersion(version.Version); p != nil {
		return nil, p
	}
	return d, nil
}

// syntax turns what the TOML decoder says into a problem.
func (d *document) syntax(err error) *Problem {
	p := &Problem{File: d.file, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		p.Line, p.Column = decode.Position()
	}
	return p
}

// checkVersion is apart from the other rules because, with a version that is
// not known, nothing else in the file can be judged.
func (d *document) checkVersion(version any) *Problem {
	var text string
	switch v := version.(type) {
	case nil:
		text = fmt.Sprintf("missing; write version = %d at the top of the file", Version)
	case int64:
		if v == Version {
			return nil
		}
		text = fmt.Sprintf("%d is not supported; this program reads version %d", v, Version)
	default:
		text = fmt.Sprintf("want %d", Version)
	}
	return d.problem("version", "%s", text)
}

// problem returns a problem with a key, at its place or at that of the nearest
// table around it.
func (d *document) problem(key, format string, args ...any) *Problem {
	p := &Problem{File: d.file, Key: key, Text: fmt.Sprintf(format, args...)}
	for around := key; around != ""; around, _ = cutLast(around) {
		if at, ok := d.places[around]; ok {
			p.Line, p.Column = at.line, at.column
			break
		}
	}
	return p
}

// cutLast takes the last part off a dotted key.
func cutLast(key string) (rest, last string) {
	i := strings.LastIndexByte(key, '.')
	return key[:max(i, 0)], key[i+1:]
}

// report adds a problem with a key.
func (d *document) report(key, format string, args ...any) {
	d.problems = append(d.problems, d.problem(key, format, args...))
}

// has tells whether the file has the key.
func (d *document) has(key string) bool {
	_, ok := d.places[key]
	return ok
}

// scope is the table that keys are being read for.
type scope struct {
	table *field // nil below a key that is not known
	path  string // with indices
}

func (d *document) walk() {
	current := scope{table: d.root}
	counts := make(map[string]int) // elements of each array of tables so far
	for d.parser.NextExpression() {
		n := d.parser.Expression()
		switch n.Kind {
		case unstable.KeyValue:
			d.keyValue(current, n)
		case unstable.Table, unstable.ArrayTable:
			current = d.header(n, counts)
		}
	}
}

// header reads [table] and [[array of tables]].
func (d *document) header(n *unstable.Node, counts map[string]int) scope {
	s := scope{table: d.root}
	for it := n.Key(); it.Next(); {
		k := it.Node()
		s = d.descend(s, k)
		if s.table == nil {
			return s
		}
		switch {
		case s.table.kind == kindTables && it.IsLast() && n.Kind == unstable.ArrayTable:
			i := counts[s.path]
			counts[s.path]++
			s.path = fmt.Sprintf("%s[%d]", s.path, i)
			d.places[s.path] = d.at(k)
		case s.table.kind == kindTables || it.IsLast() && n.Kind == unstable.ArrayTable:
			d.wrongKind(s, k, describeHeader(n.Kind))
			return scope{}
		case s.table.kind != kindTable:
			d.wrongKind(s, k, describeHeader(n.Kind))
			return scope{}
		}
	}
	return s
}

func describeHeader(k unstable.Kind) string {
	if k == unstable.ArrayTable {
		return "an array of tables"
	}
	return "a table"
}

// descend goes one part of a key down. It reports a part that is not known and
// then returns the zero scope.
func (d *document) descend(s scope, k *unstable.Node) scope {
	name := string(k.Data)
	path := strings.TrimPrefix(s.path+"."+name, ".")
	if s.table.kind != kindTable && s.table.kind != kindTables {
		d.wrongKind(s, k, "a table")
		return scope{}
	}
	f := s.table.child(name)
	if f == nil {
		plain := strings.TrimPrefix(s.table.path+"."+name, ".")
		at := d.at(k)
		d.problems = append(d.problems, &Problem{
			File: d.file, Line: at.line, Column: at.column,
			Text: unknown(plain, s.table, d.root, d.other),
		})
		return scope{}
	}
	if _, ok := d.places[path]; !ok {
		d.places[path] = d.at(k)
	}
	return scope{table: f, path: path}
}

func (d *document) keyValue(s scope, n *unstable.Node) {
	if s.table == nil {
		return // its table was reported
	}
	var last *unstable.Node
	for it := n.Key(); it.Next(); {
		last = it.Node()
		if s = d.descend(s, last); s.table == nil {
			return
		}
	}
	d.value(s, n.Value())
}

// value checks a value against what its key may have.
func (d *document) value(s scope, v *unstable.Node) {
	f := s.table
	switch {
	case f.kind == kindString && v.Kind == unstable.String:
	case f.kind == kindBool && v.Kind == unstable.Bool:
	case f.kind == kindInteger && v.Kind == unstable.Integer:
		d.integer(s, v)
	case f.kind == kindDuration && v.Kind == unstable.String:
		var parsed Duration
		if err := parsed.UnmarshalText(v.Data); err != nil {
			d.report(s.path, "%v", err)
		}
	case f.kind == kindTable && v.Kind == unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			d.keyValue(s, it.Node())
		}
	case f.kind == kindTables && v.Kind == unstable.Array:
		d.tables(s, v)
	default:
		d.wrongKind(s, v, describeValue(v.Kind))
	}
}

// tables checks an array of tables that is written as a value.
func (d *document) tables(s scope, v *unstable.Node) {
	i := 0
	for it := v.Children(); it.Next(); i++ {
		element := scope{table: s.table, path: fmt.Sprintf("%s[%d]", s.path, i)}
		d.places[element.path] = d.places[s.path]
		if it.Node().Kind != unstable.InlineTable {
			d.wrongKind(element, it.Node(), describeValue(it.Node().Kind))
			continue
		}
		for kv := it.Node().Children(); kv.Next(); {
			d.keyValue(element, kv.Node())
		}
	}
}

func (d *document) integer(s scope, v *unstable.Node) {
	n, err := strconv.ParseInt(string(v.Data), 0, 64)
	unsigned := s.table.typ.Kind() == reflect.Uint32
	if err != nil || unsigned && (n < 0 || n > 1<<32-1) {
		d.report(s.path, "%s is out of range", v.Data)
	}
}

func (d *document) wrongKind(s scope, n *unstable.Node, got string) {
	at := d.at(n)
	if n.Kind == unstable.Array { // the parser does not keep where one begins
		at = d.places[s.path]
	}
	want := s.table.kind.want()
	if strings.HasSuffix(s.path, "]") {
		want = kindTable.want() // an element, not the array
	}
	d.problems = append(d.problems, &Problem{
		File: d.file, Line: at.line, Column: at.column, Key: s.path,
		Text: fmt.Sprintf("want %s, not %s", want, got),
	})
}

func describeValue(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "a boolean"
	case unstable.Integer, unstable.Float:
		return "a number"
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}

func (d *document) at(n *unstable.Node) place {
	start := d.parser.Shape(n.Raw).Start
	return place{line: start.Line, column: start.Column}
}
