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

// FuzzOptions holds that what mount options and exports say in a word is within its bounds.
func FuzzOptions(f *testing.F) {
	for _, text := range []string{"ro,nosuid,cache=none,actimeo=5", "soft,timeo=1", "actimeo=NaN", "actimeo=-0", "timeo=9223372036854775807", "0:100000:65536", "0:0:4294967295,1:1:1", "1000:100", "root"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if o, err := ParseMountOptions(text); err == nil && (o.AttrTimeout < 0 || o.AttrTimeout > maxAttrTimeout || o.Soft < 0 || o.Soft > maxAttrTimeout) {
			t.Fatalf("%q is %+v", text, o)
		}
		ranges, err := ParseIDMap(text)
		if err == nil && len(ranges) > maxIDRanges {
			t.Fatalf("%d ranges", len(ranges))
		}
		for _, r := range ranges {
			if r.Count == 0 || r.DPU+(r.Count-1) < r.DPU || r.Host+(r.Count-1) < r.Host {
				t.Fatalf("%q has %+v", text, r)
			}
		}
		_, _, _ = ParseUser(text)
	})
}
