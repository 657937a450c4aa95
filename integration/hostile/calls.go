// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"

	"github.com/container-offload/offload/udsbridge/session"
)

// Types of ttrpc messages; see the protocol's document in containerd/ttrpc.
const (
	ttrpcRequest  = 1
	ttrpcResponse = 2
)

// message is one message of ttrpc.
type message struct {
	stream  uint32
	kind    byte
	flags   byte
	payload []byte
}

const ttrpcHeader = 10

func readMessage(r io.Reader) (message, error) {
	var h [ttrpcHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return message{}, err
	}
	m := message{stream: binary.BigEndian.Uint32(h[4:]), kind: h[8], flags: h[9]}
	m.payload = make([]byte, binary.BigEndian.Uint32(h[:]))
	_, err := io.ReadFull(r, m.payload)
	return m, err
}

func (m message) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.payload)))
	b = binary.BigEndian.AppendUint32(b, m.stream)
	return append(append(b, m.kind, m.flags), m.payload...)
}

// Call is one call of a service, as a lie sees it.
type Call struct {
	Pair    *Pair
	Service string // of ttrpc, such as containerd.task.v3.Task
	Method  string
	Request []byte // the method's request
	// Response is what is going to be answered; nil before the truth is known.
	Response *ttrpc.Response
}

// passCalls passes on a stream of ttrpc.
func (p *Pair) passCalls(opener, server *session.Stream) {
	var mu sync.Mutex
	calls := map[uint32]*Call{}
	there := func() error {
		return eachMessage(opener, server, func(m *message) (bool, error) {
			var r ttrpc.Request
			if m.kind != ttrpcRequest || proto.Unmarshal(m.payload, &r) != nil {
				return true, nil
			}
			c := &Call{Pair: p, Service: r.Service, Method: r.Method, Request: r.Payload}
			mu.Lock()
			calls[m.stream] = c
			mu.Unlock()
			if ask := p.liar.current().Ask; ask != nil {
				return ask(c), nil
			}
			return true, nil
		})
	}
	back := func() error {
		return eachMessage(server, opener, func(m *message) (bool, error) {
			if m.kind != ttrpcResponse {
				return true, nil
			}
			mu.Lock()
			c := calls[m.stream]
			delete(calls, m.stream)
			mu.Unlock()
			answer := p.liar.current().Answer
			if answer == nil || c == nil {
				return true, nil
			}
			c.Response = new(ttrpc.Response)
			if err := proto.Unmarshal(m.payload, c.Response); err != nil {
				return true, nil
			}
			pass := answer(c)
			var err error
			m.payload, err = proto.Marshal(c.Response)
			return pass, err
		})
	}
	both(there, back, opener, server)
}

// eachMessage passes on messages that see, which may change them, lets through.
func eachMessage(from, to *session.Stream, see func(*message) (bool, error)) error {
	for {
		m, err := readMessage(from)
		if errors.Is(err, io.EOF) {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
		pass, err := see(&m)
		if err != nil {
			return err
		}
		if !pass {
			continue
		}
		if _, err := to.Write(m.append(nil)); err != nil {
			return err
		}
	}
}
