// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"encoding/json"
	"testing"

	"github.com/container-offload/offload/network/steer"
	"github.com/container-offload/offload/network/wire"
)

// FuzzReport holds that whatever the HOST reports of a container's interfaces, what comes of it is bounded and about
// interfaces that are there.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"interfaces":[{"id":7,"added":[{"prefix":"172.17.0.9/16"}],"mac":"02:00:00:00:00:01"}]}`))
	f.Add([]byte(`{"interfaces":[{"id":1,"mac":"02:00:00:00:00:01"}]}`))
	f.Add([]byte(`{"interfaces":[{"id":7,"removed":[{"prefix":"172.17.0.2/16"}]},{"id":7,"added":[{"prefix":"::ffff:1.2.3.4/120"}]}]}`))
	f.Add([]byte(`{"interfaces":[{"id":7,"added":[{"prefix":""},{"prefix":"0.0.0.0/0"},{"prefix":"ff02::1/128"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r wire.Report
		if json.Unmarshal(b, &r) != nil {
			return
		}
		now := described()
		steps, err := stepsOf(&r, now)
		if err != nil {
			return
		}
		if most := 2*steer.MaxAddresses + 4; len(steps) > most*len(now.Interfaces) {
			t.Fatalf("%d steps", len(steps))
		}
		for _, s := range steps {
			_ = s.String()
		}
		if before := described(); !now.Equal(before) {
			t.Fatal("the description that is kept was changed")
		}
	})
}
