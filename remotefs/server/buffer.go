// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math/bits"
	"sync"
)

// Buffers have sizes of powers of two from 4 KiB on, so that few of them fit
// everything.
const minBuffer = 12

var buffers [12]sync.Pool

// bufferSize is what a buffer for n bytes really takes.
func bufferSize(n int) int { return 1 << class(n) }

func class(n int) int {
	if n <= 1<<minBuffer {
		return minBuffer
	}
	return bits.Len(uint(n - 1))
}

func getBuffer(n int) []byte {
	c := class(n)
	if b, ok := buffers[c-minBuffer].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<c)
}

func putBuffer(b []byte) {
	b = b[:cap(b)]
	buffers[class(len(b))-minBuffer].Put(&b)
}
