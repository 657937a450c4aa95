// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"errors"
	"io"
	"sync"

	"github.com/container-offload/offload/remotefs/framing"
	"github.com/container-offload/offload/remotefs/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// Question is one request for a file of the HOST, and the answer that is going to
// be given.
type Question struct {
	Pair    *Pair
	Request wire.Request
	Reply   wire.Reply
	Header  wire.Header
}

// passFiles passes on a stream of remotefs. What is asked of the DPU is left as it is.
func (p *Pair) passFiles(opener, server *session.Stream) {
	var mu sync.Mutex
	asked := map[uint32]wire.Request{}
	there := func() error {
		return eachFrame(opener, server, func(h *wire.Header, body, data []byte) ([]byte, []byte, error) {
			var r wire.Request
			if h.Kind == wire.KindRequest && r.ParseBody(h.Op, body) == nil {
				mu.Lock()
				asked[h.ID] = r
				mu.Unlock()
			}
			return body, data, nil
		})
	}
	back := func() error {
		return eachFrame(server, opener, func(h *wire.Header, body, data []byte) ([]byte, []byte, error) {
			mu.Lock()
			r := asked[h.ID]
			delete(asked, h.ID)
			mu.Unlock()
			lie := p.liar.current().File
			q := &Question{Pair: p, Request: r, Header: *h}
			q.Reply.Data = data
			if lie == nil || h.Kind != wire.KindReply || h.Errno == 0 && q.Reply.ParseBody(h.Op, body) != nil {
				return body, data, nil
			}
			q.Reply.Data = data
			if !lie(q) {
				return body, data, nil
			}
			*h = q.Header
			if h.Errno != 0 {
				return nil, nil, nil
			}
			return q.Reply.AppendBody(h.Op, nil), q.Reply.Data, nil
		})
	}
	both(there, back, opener, server)
}

// eachFrame passes on frames as see returns them.
func eachFrame(from, to *session.Stream, see func(h *wire.Header, body, data []byte) ([]byte, []byte, error)) error {
	in := framing.NewReceiver(from)
	for {
		h, body, err := in.Next()
		if errors.Is(err, io.EOF) {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
		data := make([]byte, h.Data)
		if err := in.Data(data); err != nil {
			return err
		}
		if body, data, err = see(&h, body, data); err != nil {
			return err
		}
		h.Body, h.Data = len(body), len(data)
		if _, err := to.Write(append(append(h.Append(nil), body...), data...)); err != nil {
			return err
		}
	}
}
