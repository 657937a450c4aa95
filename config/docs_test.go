// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// row is what the documentation says of a key.
type row struct{ kind, value string }

var rowPattern = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| (\\w+) \\| (.+?) \\| .*[.] \\|$")

// documented returns the keys in the section with the given heading.
func documented(t *testing.T, heading string) map[string]row {
	t.Helper()
	text, err := os.ReadFile("../docs/configuration.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	require.True(t, found, "no section %s", heading)
	section, _, _ = strings.Cut(section, "\n## ")
	rows := make(map[string]row)
	for _, m := range rowPattern.FindAllStringSubmatch(section, -1) {
		assert.NotContains(t, rows, m[1], "documented twice")
		rows[m[1]] = row{kind: m[2], value: m[3]}
	}
	return rows
}

var kindNames = map[kind]string{
	kindString: "string", kindBool: "boolean", kindInteger: "integer", kindDuration: "duration",
}

// required keys have no default.
var required = map[string]bool{
	"version": true, "link.address": true, "link.listen": true, "export.name": true, "export.path": true,
	"mount.path": true, "mount.mountpoint": true,
	"bridge.direction": true, "bridge.path": true,
}

// actual returns what the documentation has to say of each key of v.
func actual(f *field, v reflect.Value, rows map[string]row) map[string]row {
	if f.kind == kindTables {
		v = reflect.Zero(v.Type().Elem())
	}
	if f.kind == kindTable || f.kind == kindTables {
		for i, c := range f.fields {
			actual(c, v.Field(i), rows)
		}
		return rows
	}
	value := fmt.Sprintf("`%v`", v.Interface())
	if f.kind == kindString || f.kind == kindDuration {
		value = fmt.Sprintf("`%q`", fmt.Sprint(v.Interface()))
	}
	switch {
	case required[f.path]:
		value = "required"
	case v.IsZero() && f.kind != kindBool:
		value = "none"
	}
	rows[f.path] = row{kind: kindNames[f.kind], value: value}
	return rows
}

// Every key is documented with its type and default, and nothing else is.
func TestDocumentation(t *testing.T) {
	assert.Equal(t, actual(dpuSchema, reflect.ValueOf(*DefaultDPU()), map[string]row{}), documented(t, "dpu.toml"))
	assert.Equal(t, actual(hostSchema, reflect.ValueOf(*DefaultHost()), map[string]row{}), documented(t, "host.toml"))
}

var settingPattern = regexp.MustCompile(`(?m)^#(\[\[?[a-z.]+\]\]?$|[a-z_]+ = .*$)`)

// The examples can be used as they are, say the default of every key behind a
// #, and leave no key out.
func TestExamples(t *testing.T) {
	for _, c := range []struct {
		file   string
		schema *field
		other  *field
		parse  func(string) (any, error)
	}{
		{"dpu.toml", dpuSchema, hostSchema, func(s string) (any, error) { return ParseDPU("dpu.toml", []byte(s)) }},
		{"host.toml", hostSchema, dpuSchema, func(s string) (any, error) { return ParseHost("host.toml", []byte(s)) }},
	} {
		t.Run(c.file, func(t *testing.T) {
			b, err := os.ReadFile("../configs/" + c.file)
			require.NoError(t, err)
			text := string(b)
			want, err := c.parse(text)
			require.NoError(t, err)

			bare := settingPattern.ReplaceAllString(text, "$1")
			d, err := scan(c.file, []byte(bare), c.schema, c.other)
			require.NoError(t, err)
			require.NoError(t, asError(d.problems))
			for _, f := range c.schema.all() {
				path := strings.NewReplacer("export.", "export[0].", "mount.", "mount[0].", "bridge.", "bridge[0].").Replace(f.path)
				assert.Contains(t, d.places, path, "the example lacks a key")
			}

			// What can't be given together with the rest, and what has no default.
			for _, line := range []string{"binary = \"\"\n", "peer_cid = 0\n"} {
				bare = strings.Replace(bare, line, "", 1)
			}
			bare, _, _ = strings.Cut(bare, "[[")
			got, err := c.parse(bare)
			require.NoError(t, err)
			assert.Equal(t, want, got, "the example says another default")
		})
	}
}
