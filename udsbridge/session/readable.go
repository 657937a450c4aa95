// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package session

// AwaitReadable reports whether a Read would return at once, be it with bytes, the
// end or an error. If it would not, f is called once, in a goroutine of its own, as
// soon as it would; a later AwaitReadable replaces f. Somebody who has many idle
// streams needs no goroutine for each of them that way. Deadlines don't count.
func (st *Stream) AwaitReadable(f func()) bool {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.readableLocked() {
		st.setNotifyLocked(nil)
		return true
	}
	st.setNotifyLocked(f)
	st.s.passLocked()
	return false
}

func (st *Stream) readableLocked() bool {
	f := st.flow
	return st.closed || f.queue.size > 0 || f.finRcvd || f.err != nil
}

// notifyLocked calls who waits in AwaitReadable.
func (st *Stream) notifyLocked() {
	if f := st.notify; f != nil && st.readableLocked() {
		st.setNotifyLocked(nil)
		go f()
	}
}

func (st *Stream) setNotifyLocked(f func()) {
	if st.notify != nil {
		st.s.urgent--
	}
	if st.notify = f; f != nil {
		st.s.urgent++
	}
}
