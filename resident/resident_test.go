// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package resident

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// held is what the heap has of the machine's memory, in bytes.
func held() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys - m.HeapReleased
}

var sink []byte

func use() {
	sink = make([]byte, 64<<20)
	for i := 0; i < len(sink); i += 4096 {
		sink[i] = 1
	}
	sink = nil
}

// TestKeeper holds that memory is given back after work, each time.
func TestKeeper(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else gives it back
	k := New(time.Hour)
	defer k.Close()
	k.after = 10 * time.Millisecond
	for range 3 {
		use()
		if held() < 64<<20 {
			t.Fatal("the memory is not held to begin with")
		}
		k.Worked()
		for deadline := time.Now().Add(time.Minute); held() > 32<<20; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d MiB are held", held()>>20)
			}
		}
	}
}

// TestAtWork holds that nothing is given back in the middle of work.
func TestAtWork(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	k := New(time.Hour)
	defer k.Close()
	use()
	k.Worked()
	if held() < 64<<20 {
		t.Error("memory was given back at once")
	}
	k.Close()
}
