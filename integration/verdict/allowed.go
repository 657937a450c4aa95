// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package verdict

import "strings"

// rule lets tests be skipped.
type rule struct {
	// pkg is the end of the import path, and test a test with all below it. An empty test is every test.
	pkg, test string
	// reason is in what the test says.
	reason string
	// why is the case for it.
	why string
}

// rules are all skips that may be. What is here is never run in CI, so there must be no other way.
var rules = []rule{
	{
		pkg: "integration/run", reason: "nothing is moved in a stock lab",
		why: "the control has one environment and no link",
	},
	{
		pkg: "integration/run", test: "TestExitStatus/ctr", reason: "pid 1 is not killed by its own signals",
		why: "docker's case of the same name covers it",
	},
	{
		pkg: "offload/remotefs", test: "TestPosix", reason: "backing filesystem does not support large xattrs",
		why: "ext4 keeps a file's extended attributes within one block, whoever asks for more",
	},
	{
		pkg: "cmd/udsbridge", reason: "is not installed",
		why: "redis and postgres are servers that a machine is not given for a test",
	},
	{
		pkg: "offload/rexec", reason: "tmux is not installed",
		why: "other tests have terminals too",
	},
	{
		reason: "vsock",
		why:    "this machine's kernel has no vsock loopback; the suite in two VMs covers it",
	},
}

// allowed finds the rule for a skip, and says why it may be.
func allowed(s Skip) (why string, ok bool) {
	for _, r := range rules {
		if strings.HasSuffix(s.Package, r.pkg) && strings.Contains(s.Reason, r.reason) &&
			(r.test == "" || s.Test == r.test || strings.HasPrefix(s.Test, r.test+"/")) {
			return r.why, true
		}
	}
	return "", false
}
