// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package dpu

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/status"

	"github.com/container-offload/offload/config"
	about "github.com/container-offload/offload/status"
)

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 10

// handler answers on the status socket.
func (d *Daemon) handler() http.Handler {
	mux := about.Handler(d.Report, d.PeerReport)
	mux.HandleFunc("PUT "+about.MountsPath, func(w http.ResponseWriter, r *http.Request) {
		var spec config.Mount
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&spec); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, d.mounts.add(r.Context(), spec))
	})
	mux.HandleFunc("DELETE "+about.MountsPath, func(w http.ResponseWriter, r *http.Request) {
		answer(w, d.mounts.remove(r.URL.Query().Get("mountpoint")))
	})
	d.bridging.Handle(mux)
	return mux
}

func answer(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errdefs.IsInvalidArgument(err):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errdefs.IsNotFound(err):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errdefs.IsAlreadyExists(err), errdefs.IsFailedPrecondition(err):
		http.Error(w, err.Error(), http.StatusConflict)
	case errdefs.IsUnavailable(err):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// reason is the text of an error from a gRPC server, without the rest.
func reason(err error) error {
	if s, ok := status.FromError(err); ok {
		return errors.New(s.Message())
	}
	return err
}
