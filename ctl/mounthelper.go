// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/container-offload/offload/config"
)

// MountHelperName is the name by which mount(8) finds its helper for
// "mount -t fuse.remotefs".
const MountHelperName = "mount.fuse.remotefs"

// What the helper ends with, as mount(8) documents it.
const (
	mountOK     = 0
	mountUsage  = 1
	mountFailed = 32
)

const (
	// defaultRetry is how long the helper tries until offload-dpu and the HOST
	// answer: at boot it may be there before them.
	defaultRetry = 30 * time.Second
	// maxRetry bounds the option retry.
	maxRetry = 24 * time.Hour
	// retryPause is what passes between two attempts.
	retryPause = 500 * time.Millisecond
)

// mountHelp is what the helper says of itself.
const mountHelp = `Usage: mount -t fuse.remotefs host:PATH MOUNTPOINT [-o OPTIONS]

Has offload-dpu mount PATH of the HOST on MOUNTPOINT, until umount(8) or the next boot.

Options, besides ro, nosuid, nodev, noexec and noatime:
  export=NAME    the HOST exports PATH by this name; without it, PATH may be anything below an export
  cache=CACHE    what the kernel keeps of files: auto (the default), none, always
  actimeo=SEC    how long attributes and names are believed
  soft           what the HOST does not answer fails with EIO; without it, it waits
  timeo=TENTHS   after how many tenths of a second (default 600)
  retry=SEC      how long to wait for offload-dpu and the HOST (default 30)
  config=FILE    the DPU's configuration, if it is not /etc/offload/dpu.toml
`

// mountRequest is what a command line of mount(8)'s helper asks for.
type mountRequest struct {
	spec    config.Mount
	machine machineFlags
	retry   time.Duration
	fake    bool // -f: everything but the mount
}

// MountHelper is mount(8)'s helper: it has offload-dpu mount a directory of the
// HOST, and returns the exit status.
func MountHelper(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(stderr, mountHelp)
		return mountUsage
	}
	r, err := parseMountHelper(args)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", MountHelperName, err)
		return mountUsage
	}
	if r.fake {
		return mountOK
	}
	if err := r.mount(ctx); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", MountHelperName, err)
		return mountFailed
	}
	return mountOK
}

// parseMountHelper understands "SOURCE DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS]".
func parseMountHelper(args []string) (*mountRequest, error) {
	r := &mountRequest{retry: defaultRetry}
	var options []string
	var namespace, fsType string
	flags := pflag.NewFlagSet(MountHelperName, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVarP(&r.fake, "fake", "f", false, "")
	for _, ignored := range []string{"sloppy s", "no-mtab n", "verbose v"} {
		name, short, _ := strings.Cut(ignored, " ")
		flags.BoolP(name, short, false, "")
	}
	flags.StringArrayVarP(&options, "options", "o", nil, "")
	flags.StringVarP(&namespace, "namespace", "N", "", "")
	flags.StringVarP(&fsType, "types", "t", "", "")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	paths := flags.Args()
	switch {
	case namespace != "":
		return nil, errors.New("a mount in another namespace is not possible")
	case len(paths) != 2:
		return nil, fmt.Errorf("a source and a mount point are needed, nothing else; %d arguments were given", len(paths))
	}
	path, ok := strings.CutPrefix(paths[0], "host:")
	if !ok {
		return nil, fmt.Errorf("source %q is not host:PATH, with a path of the HOST", paths[0])
	}
	r.spec.Path, r.spec.Mountpoint = path, paths[1]
	if err := r.setOptions(strings.Join(options, ",")); err != nil {
		return nil, err
	}
	return r, r.spec.Validate()
}

// setOptions takes the helper's own options and leaves the others to the mount.
func (r *mountRequest) setOptions(text string) error {
	var rest []string
	for option := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "":
		case "export":
			r.spec.Export = value
		case "config":
			r.machine.dpu = value
		case "retry":
			seconds, err := strconv.Atoi(value)
			if err != nil || seconds < 0 || seconds > int(maxRetry/time.Second) {
				return fmt.Errorf("retry=%s is not a number of seconds from 0 to %d", value, maxRetry/time.Second)
			}
			r.retry = time.Duration(seconds) * time.Second
		default:
			rest = append(rest, option)
		}
	}
	r.spec.Options = strings.Join(rest, ",")
	return nil
}

// mount has offload-dpu mount it, as soon as it and the HOST answer.
func (r *mountRequest) mount(ctx context.Context) error {
	body, err := json.Marshal(r.spec)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(r.retry)
	for {
		err := tellDPU(ctx, &r.machine, http.MethodPut, nil, body)
		var later *laterError
		if !errors.As(err, &later) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}
