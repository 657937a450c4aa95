// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// What is accepted must survive being written and read again, and what is
// refused must be refused with problems that have texts.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", dpuTCP, hostTCP, dpuUnix, hostUnix,
		"version = 2", "version = 1\n[link]\nadress = 'x'\n", "version = 1\nlink = {tls = {ca = 3}}\n",
		"version = 1\nexport = [{name = 'a'}, 3]\n", "version = 1\n[[export]]\n[[export]]\n[export.x]\n",
		"version = 1\n[[link]]\n", "version = 1\n\"li\\u006ek\".address = '''\nunix:///x'''\n",
	} {
		f.Add([]byte(text))
	}
	for _, name := range []string{"dpu.toml", "host.toml", "offload.toml"} {
		text, err := os.ReadFile("../configs/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ParseDPU("f", data); err != nil {
			haveTexts(t, err)
		} else {
			again(t, c, func(b []byte) error { _, err := ParseDPU("f", b); return err })
		}
		if c, err := ParseHost("f", data); err != nil {
			haveTexts(t, err)
		} else {
			again(t, c, func(b []byte) error { _, err := ParseHost("f", b); return err })
		}
	})
}

func haveTexts(t *testing.T, err error) {
	t.Helper()
	problems := Problems(err)
	if len(problems) == 0 {
		t.Fatalf("no problems in %v", err)
	}
	for _, p := range problems {
		if p.Text == "" || p.File != "f" || (p.Line == 0) != (p.Column == 0) {
			t.Fatalf("bad problem %+v", p)
		}
	}
}

func again(t *testing.T, c any, parse func([]byte) error) {
	t.Helper()
	b, err := toml.Marshal(c)
	if err != nil {
		t.Fatalf("write %+v: %v", c, err)
	}
	err = parse(b)
	for _, p := range Problems(err) {
		// A context id or a table that was not given is written as well.
		if p.Key != "link.peer_cid" && p.Key != "link.tls.ca" && p.Key != "link.tls.cert" && p.Key != "link.tls.key" {
			t.Fatalf("wrote %s\nwhich reads as %v", b, err)
		}
	}
}
