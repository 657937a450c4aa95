// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/container-offload/offload/ctl/daemon"
	rexec "github.com/container-offload/offload/rexec/cli"
	"github.com/container-offload/offload/version"
)

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete offloadctl's commands",
		Long: `Print a script that makes a shell complete the commands and flags of offloadctl
and of the daemons' names. Where it belongs differs: see the examples.`,
		Example: `  offloadctl completion bash > /usr/share/bash-completion/completions/offloadctl
  offloadctl completion zsh > /usr/share/zsh/vendor-completions/_offloadctl
  offloadctl completion fish > /usr/share/fish/vendor_completions.d/offloadctl.fish`,
		ValidArgs: shells,
		Args:      arguments(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			default:
				return root.GenFishCompletion(w, true)
			}
		},
	}
}

func manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write the manual pages into a directory",
		Long: `Write the manual pages of offloadctl, of each of its commands and of the daemons
into a directory. All are of section 8.`,
		Example: "  offloadctl man --dir /usr/share/man/man8",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return &usageError{fmt.Errorf("--dir is needed: the directory to write into")}
			}
			return writeManual(dir, cmd.Root(), daemon.DPU(nil), daemon.Host(nil), rexec.Command())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` to write into; it is made if need be")
	return cmd
}

// writeManual writes a page for each command and each of its subcommands.
func writeManual(dir string, commands ...*cobra.Command) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write manual: %w", err)
	}
	date := buildDate()
	for _, c := range commands {
		c.DisableAutoGenTag = true
		header := doc.GenManHeader{Section: "8", Source: "offload " + version.String(), Manual: "offload", Date: &date}
		if err := doc.GenManTree(c, &header, dir); err != nil {
			return fmt.Errorf("write manual of %s into %s: %w", c.Name(), dir, err)
		}
	}
	return nil
}

// buildDate is the date on manual pages: none but the source's own would make
// the same source build the same pages.
func buildDate() time.Time {
	if t, ok := version.Time(); ok {
		return t
	}
	return time.Unix(0, 0).UTC()
}
