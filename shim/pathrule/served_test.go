// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package pathrule

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

func TestWhenServed(t *testing.T) {
	for name, c := range map[string]struct {
		errs  []error
		limit time.Duration
		looks int
		want  error
	}{
		"served":        {[]error{nil}, time.Minute, 1, nil},
		"gone":          {[]error{unix.ENOENT}, time.Minute, 1, unix.ENOENT},
		"served again":  {[]error{unix.ENOTCONN, unix.ECONNABORTED, unix.EIO, nil}, time.Minute, 4, nil},
		"removed after": {[]error{unix.EIO, unix.ENOENT}, time.Minute, 2, unix.ENOENT},
		"never":         {[]error{unix.EIO}, 0, 1, unix.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			looks := 0
			_, err := whenServed(func() (Place, error) {
				looks++
				if err := c.errs[looks-1]; err != nil {
					return Place{}, fmt.Errorf("statx: %w", err)
				}
				return Place{}, nil
			}, c.limit)
			assert.ErrorIs(t, err, c.want)
			assert.Equal(t, c.looks, looks)
		})
	}
}
