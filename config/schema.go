// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"strings"
)

// kind is what a key's value may be.
type kind int

const (
	kindString kind = iota
	kindBool
	kindInteger
	kindDuration
	kindTable
	kindTables // an array of tables
)

// want says in words what a value of the kind looks like.
func (k kind) want() string {
	switch k {
	case kindString:
		return "a string"
	case kindBool:
		return "true or false"
	case kindInteger:
		return "a whole number"
	case kindDuration:
		return "a string with a duration, such as \"5s\""
	case kindTable:
		return "a table"
	case kindTables:
		return "an array of tables"
	}
	panic(fmt.Sprintf("config: kind %d", k))
}

// field is one key that a file may have.
type field struct {
	name, path string // its last part; all of it, dotted
	kind       kind
	// typ is the Go type of an integer, for its range.
	typ    reflect.Type
	fields []*field // of a table, in the order of the struct
}

// schemaOf returns the keys of the file of that name, which is decoded into t,
// as one table.
func schemaOf(name string, t reflect.Type) *field {
	return describe(&field{name: name}, t)
}

func describe(f *field, t reflect.Type) *field {
	switch {
	case t == reflect.TypeFor[Duration]():
		f.kind = kindDuration
	case t.Kind() == reflect.String:
		f.kind = kindString
	case t.Kind() == reflect.Bool:
		f.kind = kindBool
	case t.Kind() == reflect.Int, t.Kind() == reflect.Uint32:
		f.kind, f.typ = kindInteger, t
	case t.Kind() == reflect.Slice:
		describe(f, t.Elem())
		f.kind = kindTables
	case t.Kind() == reflect.Struct:
		f.kind = kindTable
		for sf := range t.Fields() {
			name := sf.Tag.Get("toml")
			if name == "" {
				continue
			}
			path := strings.TrimPrefix(f.path+"."+name, ".")
			f.fields = append(f.fields, describe(&field{name: name, path: path}, sf.Type))
		}
	default:
		panic(fmt.Sprintf("config: a key can't be a %s", t))
	}
	return f
}

// child returns the field of that exact name, or nil.
func (f *field) child(name string) *field {
	for _, c := range f.fields {
		if c.name == name {
			return c
		}
	}
	return nil
}

// all returns every field below f, tables included, in order.
func (f *field) all() []*field {
	var out []*field
	for _, c := range f.fields {
		out = append(append(out, c), c.all()...)
	}
	return out
}

// find returns the field of that dotted path, or nil.
func (f *field) find(path string) *field {
	for _, c := range f.all() {
		if c.path == path {
			return c
		}
	}
	return nil
}
