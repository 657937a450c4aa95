// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/typeurl/v2"
)

// Services of a shim's session. The side that opens the stream is named first.
const (
	// ServiceTask (DPU opens) is ttrpc: containerd.task.v3.Task.
	ServiceTask = "task"
	// ServiceStdio (DPU opens) is the bytes of one standard stream of one
	// process; the stream's header is a [StdioHeader].
	ServiceStdio = "stdio"
	// ServiceEvents (HOST opens) is ttrpc: containerd.services.events.ttrpc.v1.Events.
	ServiceEvents = "events"
	// ServiceFiles (HOST opens) is remotefs: the DPU paths that the pod's
	// containers were given.
	ServiceFiles = "files"
	// ServiceSocket (HOST opens) is one connection to a unix socket of the
	// DPU that a container was given; the stream's header is the export's name.
	ServiceSocket = "socket"
)

// Services that the HOST agent's session has for shims.
const (
	// ServiceShims (DPU opens) is ttrpc: [ShimsService].
	ServiceShims = "shims"
	// ShimsService has the methods below.
	ShimsService = "offload.shims.v1.Shims"
	// ShimsDelete takes and returns the task API's DeleteRequest and
	// DeleteResponse and removes whatever is left of a shim.
	ShimsDelete = "Delete"
	// ShimsVersion and ShimsFeatures take google.protobuf.Empty and return a
	// google.protobuf.StringValue: what the HOST's runc prints with --version,
	// and for "features".
	ShimsVersion  = "Version"
	ShimsFeatures = "Features"
)

// Stdio names a standard stream.
type Stdio string

// The three standard streams.
const (
	Stdin  Stdio = "stdin"
	Stdout Stdio = "stdout"
	Stderr Stdio = "stderr"
)

// StdioHeader says which stream of which process a stdio stream carries.
type StdioHeader struct {
	ID     string `json:"id"`
	ExecID string `json:"exec_id,omitempty"`
	Stream Stdio  `json:"stream"`
}

// Encode returns the header's bytes.
func (h StdioHeader) Encode() []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	return b
}

// ParseStdioHeader is the inverse of [StdioHeader.Encode]. It fails for ids
// that containerd would not accept and for unknown streams.
func ParseStdioHeader(b []byte) (StdioHeader, error) {
	var h StdioHeader
	if err := strictJSON(b, &h); err != nil {
		return h, fmt.Errorf("stdio header: %w", err)
	}
	if err := identifiers.Validate(h.ID); err != nil {
		return h, fmt.Errorf("stdio header: id: %w", err)
	}
	if h.ExecID != "" {
		if err := identifiers.Validate(h.ExecID); err != nil {
			return h, fmt.Errorf("stdio header: exec id: %w", err)
		}
	}
	switch h.Stream {
	case Stdin, Stdout, Stderr:
		return h, nil
	}
	return h, fmt.Errorf("stdio header: unknown stream %q", h.Stream)
}

// CreateOptions travels in the Options field of a CreateTaskRequest between the
// halves, in place of the runtime options that containerd put there.
type CreateOptions struct {
	// Spec is config.json with every DPU path in it replaced by a [Ref].
	Spec json.RawMessage `json:"spec"`
	// RuncOptions is the caller's containerd.runc.v1.Options, marshalled, or
	// empty.
	RuncOptions []byte `json:"runc_options,omitempty"`
	// Exports tells whether Spec or the request refers to exports, so that
	// the HOST half mounts them first.
	Exports bool `json:"exports,omitempty"`
}

func init() {
	typeurl.Register(&CreateOptions{}, "offload.shim.v1", "CreateOptions")
}

// Ref is a path in a spec whose meaning only the HOST half can complete. A Ref
// never starts with a slash, so it can't be mistaken for a path.
type Ref string

const (
	exportPrefix  = "offload-export:"
	socketPrefix  = "offload-socket:"
	taskNSPrefix  = "offload-task:"
	netNSPrefix   = "offload-netns:"
	shmPrefix     = "offload-shm:"
	taskShmPrefix = "offload-task-shm:"
)

// ExportRef refers to a DPU file or directory exported under name.
func ExportRef(name string) Ref { return Ref(exportPrefix + name) }

// SocketRef refers to a unix socket of the DPU exported under name.
func SocketRef(name string) Ref { return Ref(socketPrefix + name) }

// TaskNSRef refers to the namespaces of another task, whose shim is named too.
func TaskNSRef(shimID, id string) Ref { return Ref(taskNSPrefix + shimID + "/" + id) }

// NetNSRef refers to a network namespace of the DPU by a key; all references
// of one pod with the same key mean one namespace.
func NetNSRef(key string) Ref { return Ref(netNSPrefix + key) }

// ShmRef refers to new shared memory of up to size bytes, or of as much as there
// is for 0.
func ShmRef(size uint64) Ref { return Ref(shmPrefix + strconv.FormatUint(size, 10)) }

// TaskShmRef refers to the shared memory of another task, whose shim is named
// too.
func TaskShmRef(shimID, id string) Ref { return Ref(taskShmPrefix + shimID + "/" + id) }

// Export returns the name of an [ExportRef].
func (r Ref) Export() (string, bool) { return r.cut(exportPrefix) }

// Socket returns the name of a [SocketRef].
func (r Ref) Socket() (string, bool) { return r.cut(socketPrefix) }

// NetNS returns the key of a [NetNSRef].
func (r Ref) NetNS() (string, bool) { return r.cut(netNSPrefix) }

// TaskNS returns the two ids of a [TaskNSRef].
func (r Ref) TaskNS() (shimID, id string, ok bool) { return r.cutTask(taskNSPrefix) }

// Shm returns the size of a [ShmRef].
func (r Ref) Shm() (size uint64, ok bool) {
	rest, ok := r.cut(shmPrefix)
	size, err := strconv.ParseUint(rest, 10, 63)
	return size, ok && err == nil
}

// TaskShm returns the two ids of a [TaskShmRef].
func (r Ref) TaskShm() (shimID, id string, ok bool) { return r.cutTask(taskShmPrefix) }

func (r Ref) cutTask(prefix string) (shimID, id string, ok bool) {
	rest, ok := r.cut(prefix)
	if !ok {
		return "", "", false
	}
	shimID, id, ok = strings.Cut(rest, "/")
	return shimID, id, ok && identifiers.Validate(shimID) == nil && identifiers.Validate(id) == nil
}

func (r Ref) cut(prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(string(r), prefix)
	if !ok || rest == "" || len(rest) > 256 || rest == "." || rest == ".." {
		return "", false
	}
	return rest, prefix == taskNSPrefix || prefix == taskShmPrefix || !strings.ContainsAny(rest, "/\x00")
}

func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("bytes after the value")
	}
	return nil
}

// GivesWay is the reason by which a HOST half refuses a new DPU half of its pod's
// name: it ends its pod, and the name is free a moment later.
const GivesWay = "an earlier shim of this name gives way to this one"
