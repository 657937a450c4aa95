// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Values of [MountOptions.Cache].
const (
	CacheAuto   = "auto"
	CacheNone   = "none"
	CacheAlways = "always"
)

// maxAttrTimeout bounds actimeo.
const maxAttrTimeout = 24 * time.Hour

// defaultTimeout is timeo's.
const defaultTimeout = time.Minute

// MountOptions are what the options of a mount ask for, which are written as in
// fstab(5).
type MountOptions struct {
	// ReadOnly, NoSuid, NoDev, NoExec and NoAtime are those of mount(8).
	ReadOnly, NoSuid, NoDev, NoExec, NoAtime bool
	// Cache says what the kernel may keep of files: [CacheAuto], [CacheNone] or
	// [CacheAlways].
	Cache string
	// AttrTimeout is how long the kernel believes attributes and names, up to a
	// day; HasAttrTimeout tells whether it was given.
	AttrTimeout    time.Duration
	HasAttrTimeout bool
	// Soft is how long an operation waits for the HOST before it fails with EIO,
	// from 0.1 s to a day; 0 waits as long as it takes.
	Soft time.Duration
}

// ParseMountOptions understands options such as "ro,nosuid,cache=none,actimeo=5".
// What mount(8) gives of its own and means the default, or is no business of a
// file system (_netdev, nofail, x-systemd.automount, …), is passed over.
func ParseMountOptions(text string) (MountOptions, error) {
	o, soft, timeout := MountOptions{Cache: CacheAuto}, false, defaultTimeout
	for option := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(option, "=")
		var err error
		switch key {
		case "soft", "hard":
			soft = key == "soft"
		case "timeo":
			timeout, err = parseTimeout(value)
		default:
			err = o.set(option, key, value)
		}
		if err != nil {
			return MountOptions{}, err
		}
	}
	if soft {
		o.Soft = timeout
	}
	return o, nil
}

// parseTimeout understands timeo's tenths of a second, which are those of nfs(5).
func parseTimeout(value string) (time.Duration, error) {
	tenths, err := strconv.Atoi(value)
	if err != nil || tenths < 1 || tenths > int(maxAttrTimeout/time.Second)*10 {
		return 0, fmt.Errorf("timeo=%s is not a number of tenths of a second from 1 to %d", value, int(maxAttrTimeout/time.Second)*10)
	}
	return time.Duration(tenths) * (time.Second / 10), nil
}

func (o *MountOptions) set(option, key, value string) error {
	switch key {
	case "ro":
		o.ReadOnly = true
	case "rw":
		o.ReadOnly = false
	case "nosuid":
		o.NoSuid = true
	case "nodev":
		o.NoDev = true
	case "noexec":
		o.NoExec = true
	case "noatime":
		o.NoAtime = true
	case "suid":
		o.NoSuid = false
	case "dev":
		o.NoDev = false
	case "exec":
		o.NoExec = false
	case "cache":
		switch value {
		case CacheAuto, CacheNone, CacheAlways:
			o.Cache = value
		default:
			return fmt.Errorf("cache=%s is not one of %s, %s, %s", value, CacheAuto, CacheNone, CacheAlways)
		}
	case "actimeo":
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || !(seconds >= 0 && seconds <= maxAttrTimeout.Seconds()) {
			return fmt.Errorf("actimeo=%s is not a number of seconds from 0 to %.0f", value, maxAttrTimeout.Seconds())
		}
		o.AttrTimeout, o.HasAttrTimeout = time.Duration(math.Round(seconds*1e9)), true
	default:
		if !passedOver[key] && !strings.HasPrefix(key, "x-") && !strings.HasPrefix(key, "X-") {
			return fmt.Errorf("option %q is not known", option)
		}
	}
	return nil
}

// passedOver are options that mount(8) may pass on and that ask for nothing.
var passedOver = map[string]bool{
	"": true, "defaults": true, "auto": true, "noauto": true, "user": true, "nouser": true, "users": true, "owner": true, "group": true,
	"nofail": true, "_netdev": true, "comment": true, "async": true, "atime": true, "relatime": true, "diratime": true, "nodiratime": true,
}
