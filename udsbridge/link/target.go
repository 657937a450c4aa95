// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"regexp"
	"strings"
)

// Kinds of targets.
const (
	KindAgent = "agent" // the HOST's agent
	KindShim  = "shim"  // the HOST half of a pod's shim
)

// maxIdentifier bounds a namespace or an id as containerd does, in bytes.
const maxIdentifier = 76

// maxTarget bounds a target's text, in bytes.
const maxTarget = len(KindShim) + 2 + 2*maxIdentifier + len(createMark)

// createMark ends the text of a target that may be created.
const createMark = "?create"

// identifier is what containerd allows as a namespace or a container's id.
var identifier = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`)

// Target says for whom on the HOST a connection is.
type Target struct {
	Kind string // KindAgent or KindShim
	// Namespace and ID name the pod; empty for the agent.
	Namespace, ID string
	// Create allows the HOST to make the pod's shim if there is none.
	Create bool
}

// ParseTarget parses what String returns: "agent", "shim/NAMESPACE/ID" or
// "shim/NAMESPACE/ID?create".
func ParseTarget(s string) (Target, error) {
	if len(s) > maxTarget {
		return Target{}, fmt.Errorf("target is %d bytes, more than %d", len(s), maxTarget)
	}
	name, create := strings.CutSuffix(s, createMark)
	parts := strings.Split(name, "/")
	t := Target{Kind: parts[0], Create: create}
	if len(parts) > 1 {
		if len(parts) != 3 {
			return Target{}, fmt.Errorf("target %q is not agent or shim/NAMESPACE/ID", s)
		}
		t.Namespace, t.ID = parts[1], parts[2]
	}
	if err := t.Validate(); err != nil {
		return Target{}, err
	}
	return t, nil
}

// String returns the target as ParseTarget takes it.
func (t Target) String() string {
	s := t.Kind
	if t.Kind != KindAgent {
		s += "/" + t.Namespace + "/" + t.ID
	}
	if t.Create {
		s += createMark
	}
	return s
}

// Validate reports what is wrong with the target.
func (t Target) Validate() error {
	switch t.Kind {
	case KindAgent:
		if t.Namespace != "" || t.ID != "" || t.Create {
			return fmt.Errorf("target %q: the agent has no namespace and no id, and is not created", t.Kind)
		}
		return nil
	case KindShim:
		if err := validateIdentifier("namespace", t.Namespace); err != nil {
			return err
		}
		return validateIdentifier("id", t.ID)
	default:
		return fmt.Errorf("target kind %q is neither %q nor %q", t.Kind, KindAgent, KindShim)
	}
}

func validateIdentifier(what, s string) error {
	if len(s) > maxIdentifier {
		return fmt.Errorf("target: %s is %d bytes, more than %d", what, len(s), maxIdentifier)
	}
	if !identifier.MatchString(s) {
		return fmt.Errorf("target: %s %q is not an identifier (letters and digits, with single '.', '_' or '-' between them)", what, s)
	}
	return nil
}
