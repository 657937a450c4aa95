// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

// Command udsbridge lets programs of one machine connect to unix sockets of
// another. It needs neither offload-dpu nor offload-host.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "udsbridge:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "udsbridge ADDR PEER [flags]",
		Short: "Bridge unix sockets between two machines",
		Long: `udsbridge joins two machines so that programs of one can connect to unix sockets
of the other, by their paths and unmodified. It runs on both, in the foreground,
until SIGTERM or SIGINT.

ADDR is where it awaits the other machine and PEER is where that one awaits it:
tcp://HOST:PORT, vsock://CID:PORT or unix:///PATH. Either may be -, so that one
machine dials and the other awaits; with certificates it must be so, where the
one that dials has a certificate of role dpu and the other one of role host.

--allow PATH says that sockets at or below PATH live on the other machine, and
--serve PATH that the other machine may connect to sockets at or below PATH here.
A socket is reached only if both say so. @NAME is an abstract socket.`,
		Example: `  # The database listens on /run/postgresql on db, and is used on web.
  db#  udsbridge tcp://10.0.0.2:7500 - --serve /run/postgresql --insecure
  web# udsbridge - tcp://10.0.0.2:7500 --allow /run/postgresql --insecure
  web$ psql -h /run/postgresql

  # With certificates, which "offloadctl pki init" makes.
  web# udsbridge - tcp://10.0.0.2:7500 --allow /run/postgresql \
         --ca ca.crt --cert dpu.crt --key dpu.key

  # A socket that has another path there, and whose programs count as user 1000.
  a# udsbridge - vsock://3:7500 --allow /run/here.sock=/run/there.sock
  b# udsbridge vsock://any:7500 - --peer-cid 4 --serve /run/there.sock --as 1000:1000`,
		Args:          cobra.ExactArgs(2),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.listen, o.dial = args[0], args[1]
			level := slog.LevelWarn
			if o.verbose {
				level = slog.LevelDebug
			}
			return o.run(cmd.Context(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.allow, "allow", nil, "sockets at or below `PATH[=THERE]` live on the other machine, there at THERE")
	f.StringArrayVar(&o.serve, "serve", nil, "the other machine may connect to sockets at or below `PATH`")
	f.StringVar(&o.as, "as", "same", "who programs of the other machine are here: same, or `UID:GID`")
	f.StringVar(&o.technique, "technique", "mirror", "how programs are led to the other machine: mirror or hook")
	f.StringArrayVar(&o.files, "files", nil, "open files below `DIR` by path when the other machine passes descriptors of its mount of it")
	f.StringVar(&o.runtime, "runtime", "/run/udsbridge", "`directory` for what lasts until the next boot")
	f.StringVar(&o.identity.CA, "ca", "", "`file` with the certificate of the authority")
	f.StringVar(&o.identity.Cert, "cert", "", "`file` with this machine's certificate")
	f.StringVar(&o.identity.Key, "key", "", "`file` with the key to it")
	f.StringVar(&o.identity.CRL, "crl", "", "`file` with certificates that are revoked")
	f.BoolVar(&o.insecure, "insecure", false, "allow tcp without certificates: whoever reaches the port gets at the sockets")
	f.Uint32Var(&o.peerCID, "peer-cid", 0, "take only connections of this vsock context `id`")
	f.DurationVar(&o.resume, "resume-timeout", 0, "how long connections outlive a lost link (default 5m)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log every connection")
	return cmd
}
