// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"unicode"

	"github.com/containerd/errdefs"
)

// maxMessage bounds an error message, in bytes.
const maxMessage = 2048

// codes are the kinds of error that cross the wire, in the order in which an
// error is tried against them. There is no code for "not implemented": on the
// DPU that would send containerd to another differ with a half-unpacked
// snapshot.
var codes = []struct {
	code string
	err  error
}{
	{"no-space", ErrNoSpace},
	{"canceled", context.Canceled},
	{"deadline-exceeded", context.DeadlineExceeded},
	{"not-found", errdefs.ErrNotFound},
	{"already-exists", errdefs.ErrAlreadyExists},
	{"invalid-argument", errdefs.ErrInvalidArgument},
	{"failed-precondition", errdefs.ErrFailedPrecondition},
	{"resource-exhausted", errdefs.ErrResourceExhausted},
	{"data-loss", errdefs.ErrDataLoss},
	{"unavailable", errdefs.ErrUnavailable},
	{"permission-denied", errdefs.ErrPermissionDenied},
	{"aborted", errdefs.ErrAborted},
}

// ErrNoSpace is a full disk, as containerd's error kinds know it. It is
// syscall.ENOSPC and errdefs.ErrResourceExhausted at once.
var ErrNoSpace error = noSpace{}

type noSpace struct{}

func (noSpace) Error() string        { return syscall.ENOSPC.Error() }
func (noSpace) Is(target error) bool { return target == syscall.ENOSPC }
func (noSpace) Unwrap() error        { return errdefs.ErrResourceExhausted }

type errorFrame struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

// WriteError ends a stream with an error.
func WriteError(w io.Writer, err error) error {
	f := errorFrame{Message: Printable(err.Error(), maxMessage)}
	err = Kind(err)
	for _, c := range codes {
		if errors.Is(err, c.err) {
			f.Code = c.code
			break
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // each character may take two bytes at most, so that a frame holds any message
	if err := e.Encode(f); err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	return writeFrame(w, kindError, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// Kind adds to an error of the system the kind containerd knows it by, if it
// has none yet: a full disk or quota becomes [ErrNoSpace].
func Kind(err error) error {
	if (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) && !errors.Is(err, ErrNoSpace) {
		return &kinded{error: err, kind: ErrNoSpace}
	}
	return err
}

// kinded is an error with a kind that does not show in its words.
type kinded struct {
	error
	kind error
}

func (e *kinded) Unwrap() []error { return []error{e.kind, e.error} }

func parseError(b []byte) error {
	var f errorFrame
	if err := decodeStrict(b, &f); err != nil {
		return fmt.Errorf("decode error from host: %w: %w", err, ErrProtocol)
	}
	for _, c := range codes {
		if f.Code == c.code {
			return RemoteError(f.Message, c.err)
		}
	}
	return RemoteError(f.Message, errdefs.ErrUnknown)
}

// RemoteError is an error the HOST reported: its words, made printable and
// bounded, and its kind for errors.Is.
func RemoteError(message string, kind error) error {
	return &remoteError{message: "host: " + Printable(message, maxMessage), kind: kind, host: true}
}

// FromHost reports whether err is one the HOST reported. Such an error says what
// was being done to what.
func FromHost(err error) bool {
	var r *remoteError
	return errors.As(err, &r) && r.host
}

// remoteError has words and a kind that need not show in them.
type remoteError struct {
	message string
	kind    error
	host    bool
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }

// Flat gives an error with the words of err and the kind containerd would find in
// it, or [ErrNoSpace] or [ErrProtocol], and nothing else. An error that wraps several would otherwise arrive at
// containerd's clients as several lines.
func Flat(err error) error {
	if err == nil {
		return nil
	}
	kind := errdefs.Resolve(err)
	for _, finer := range []error{ErrNoSpace, ErrProtocol} {
		if errors.Is(err, finer) {
			kind = finer
		}
	}
	return &remoteError{message: err.Error(), kind: kind, host: FromHost(err)}
}

// Printable makes foreign text safe to log and to show: at most limit bytes,
// valid UTF-8, no control characters.
func Printable(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
	if cut {
		s += "…"
	}
	return s
}
