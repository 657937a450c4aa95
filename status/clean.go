// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"reflect"
	"strings"
	"unicode"
)

// maxLine bounds a text of a report that is not believed, in bytes.
const maxLine = 1024

// line returns text as one line that a terminal can be given.
func line(text string) string {
	text = strings.TrimSpace(text)
	if len(text) > maxLine {
		text = text[:maxLine]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, " "))
}

// clean makes every text of the report a line.
func (r *Report) clean() { cleanValue(reflect.ValueOf(r)) }

func cleanValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(line(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			cleanValue(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			cleanValue(v.Index(i))
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			cleanValue(f)
		}
	}
}
