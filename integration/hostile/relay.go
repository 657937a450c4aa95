// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"io"
	"sync"

	pluginwire "github.com/container-offload/offload/plugins/wire"
	rexecrelay "github.com/container-offload/offload/rexec/relay"
	rexecwire "github.com/container-offload/offload/rexec/wire"
	shimwire "github.com/container-offload/offload/shim/wire"
	"github.com/container-offload/offload/status"
	bridgewire "github.com/container-offload/offload/udsbridge/bridge/wire"
	"github.com/container-offload/offload/udsbridge/session"
)

// The services of sessions, by what they speak. Either side may open any.
var (
	ttrpcServices = []string{shimwire.ServiceTask, shimwire.ServiceEvents, shimwire.ServiceShims, pluginwire.ServiceSnapshots}
	fileServices  = []string{shimwire.ServiceFiles}
	plainServices = []string{
		shimwire.ServiceStdio, shimwire.ServiceSocket, shimwire.ServiceNetwork, shimwire.ServiceNetworkDNS,
		pluginwire.ServiceApply, pluginwire.ServiceDiff, status.Service, rexecrelay.Service, rexecwire.ServiceControl,
		rexecwire.ServiceIO, bridgewire.ServiceControl, bridgewire.ServiceConnect, bridgewire.ServiceFile,
	}
)

// relayed passes one stream on, from who opened it to who serves it.
type relayed func(p *Pair, opener, server *session.Stream)

// relay passes streams on until one of the sessions ends.
func (p *Pair) relay() {
	for services, pass := range map[*[]string]relayed{
		&ttrpcServices: (*Pair).passCalls, &fileServices: (*Pair).passFiles, &plainServices: (*Pair).passBytes,
	} {
		for _, service := range *services {
			go p.each(p.DPU, p.HOST, service, pass)
			go p.each(p.HOST, p.DPU, service, pass)
		}
	}
	go func() {
		select {
		case <-p.DPU.Done():
		case <-p.HOST.Done():
		}
		p.end()
	}()
}

// each passes on the streams of one service that come from one side.
func (p *Pair) each(from, to *session.Session, service string, pass relayed) {
	l := from.Listen(service)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			opener := c.(*session.Stream)
			if from == p.DPU && p.liar.current().takes(p, opener) {
				return
			}
			server, err := to.Open(context.Background(), service, opener.Header())
			if err != nil {
				opener.Reset(err)
				return
			}
			pass(p, opener, server)
		}()
	}
}

// passBytes passes on a stream as it is.
func (p *Pair) passBytes(opener, server *session.Stream) {
	both(func() error { return copyHalf(server, opener) }, func() error { return copyHalf(opener, server) }, opener, server)
}

// both runs the two directions of a stream until they have ended, or one has failed.
func both(there, back func() error, opener, server *session.Stream) {
	var wg sync.WaitGroup
	for _, way := range []func() error{there, back} {
		wg.Go(func() {
			if err := way(); err != nil {
				opener.Reset(err)
				server.Reset(err)
			}
		})
	}
	wg.Wait()
	opener.Close()
	server.Close()
}

func copyHalf(to, from *session.Stream) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.CloseWrite()
}
