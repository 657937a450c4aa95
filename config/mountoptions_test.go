// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMountOptions(t *testing.T) {
	for text, want := range map[string]MountOptions{
		"":                           {Cache: CacheAuto},
		"rw,relatime":                {Cache: CacheAuto},
		"ro,nosuid,nodev,cache=none": {Cache: CacheNone, ReadOnly: true, NoSuid: true, NoDev: true},
		"ro,rw,noexec,nosuid,suid":   {Cache: CacheAuto, NoExec: true},
		"_netdev,nofail,x-systemd.requires=offload-dpu.service,comment=a": {Cache: CacheAuto},
		"actimeo=0,cache=always,noatime":                                  {Cache: CacheAlways, NoAtime: true, HasAttrTimeout: true},
		"actimeo=2.5":                                                     {Cache: CacheAuto, AttrTimeout: 2500 * time.Millisecond, HasAttrTimeout: true},
		"soft":                                                            {Cache: CacheAuto, Soft: time.Minute},
		"timeo=15,soft":                                                   {Cache: CacheAuto, Soft: 1500 * time.Millisecond},
		"soft,timeo=15,hard":                                              {Cache: CacheAuto},
	} {
		got, err := ParseMountOptions(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{
		"cache=some":    "not one of",
		"actimeo=-1":    "number of seconds",
		"actimeo=NaN":   "number of seconds",
		"actimeo=90000": "number of seconds",
		"timeo=0":       "tenths of a second",
		"timeo=1s":      "tenths of a second",
		"ro,remount":    `"remount" is not known`,
		"allow_other":   `"allow_other" is not known`,
	} {
		_, err := ParseMountOptions(text)
		assert.ErrorContains(t, err, want, text)
	}
}
