// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/container-offload/offload/rexec/policy"
)

// checkResult is what "-o json" prints.
type checkResult struct {
	File    string `json:"file"`
	Rules   int    `json:"rules"`
	Program string `json:"program,omitempty"`
	Allowed *bool  `json:"allowed,omitempty"`
	Rule    int    `json:"rule,omitempty"`
	User    string `json:"user,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

func checkCommand() *cobra.Command {
	var output, user, cwd string
	var env []string
	var terminal, detach bool
	cmd := &cobra.Command{
		Use:   "check FILE [PROGRAM [ARGUMENT...]]",
		Short: "Check an allow-list, and what it says of a program",
		Example: `  rexec check /etc/offload/rexec.toml
  rexec check /etc/offload/rexec.toml ps aux`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := policy.Load(args[0])
			if err != nil {
				return err
			}
			res := checkResult{File: args[0], Rules: len(p.Rules)}
			if len(args) > 1 {
				res.ask(p, policy.Request{Program: args[1], Args: args[2:], User: user, Cwd: cwd, Env: env, Terminal: terminal, Detach: detach})
			}
			if err := res.print(os.Stdout, output); err != nil {
				return err
			}
			if res.Allowed != nil && !*res.Allowed {
				os.Exit(exitNotExecutable)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	outputFlag(cmd, &output)
	f.StringVarP(&user, "user", "u", "", "as `USER`")
	f.StringVarP(&cwd, "cwd", "C", "", "in directory `DIR`")
	f.StringArrayVarP(&env, "env", "e", nil, "with variable `NAME` set (may be repeated)")
	f.BoolVarP(&terminal, "tty", "t", false, "with a terminal")
	f.BoolVarP(&detach, "detach", "d", false, "without a client")
	return cmd
}

// ask finds out what the allow-list says.
func (c *checkResult) ask(p *policy.Policy, r policy.Request) {
	allowed := false
	c.Program, c.Allowed = r.Program, &allowed
	err := errors.New("no rule names it")
	for _, candidate := range p.Candidates(r.Program) {
		if !filepath.IsAbs(c.Program) {
			if _, statErr := os.Stat(candidate); statErr != nil {
				err = statErr
				continue
			}
		}
		r.Program = candidate
		d, decideErr := p.Decide(r, func(a, b string) bool { return a == b })
		if decideErr == nil {
			allowed = true
			c.Program, c.Rule, c.User = candidate, d.Rule, d.User
			return
		}
		err = decideErr
	}
	c.Reason = err.Error()
}

func (c *checkResult) print(w io.Writer, output string) error {
	switch output {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(c)
	case "table":
		switch {
		case c.Allowed == nil:
			fmt.Fprintf(w, "%s is good and has %d rules\n", c.File, c.Rules)
		case *c.Allowed:
			fmt.Fprintf(w, "rule %d allows %s, as user %s\n", c.Rule, c.Program, c.User)
		default:
			fmt.Fprintln(w, c.Reason)
		}
		return nil
	}
	return fmt.Errorf("output %q is neither table nor json", output)
}
