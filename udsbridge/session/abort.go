// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import "fmt"

// Abort ends the session on this end at once, without telling the peer and
// without waiting for it: what it has not received yet it will not get. A peer
// that tries to resume is refused. reason is in the errors of the streams.
func (s *Session) Abort(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(fmt.Errorf("%w here: %w", ErrClosed, reason))
}
