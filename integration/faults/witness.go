// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// countScript counts on standard output and in a file that lies on the DPU, until it is told to end.
const countScript = `trap 'exit 6' TERM; i=0; while :; do i=$((i+1)); echo $i; echo $i >>/data/numbers; sleep 0.05; done`

// witness is a container that counts.
type witness struct {
	s    *scene
	name string
	// ctr tells that it is containerd's alone; otherwise it is dockerd's.
	ctr bool
	// refused tells that its file may be refused it for a while.
	refused bool
	// born tells it from one that was started again.
	born string
}

// dockerWitness starts a witness by docker, with further arguments of docker run.
func (s *scene) dockerWitness(ctx context.Context, args ...string) (*witness, error) {
	w := &witness{s: s, name: s.name("witness")}
	argv := append([]string{"docker", "run", "-d", "--name", w.name, "-v", dataDir + "/" + w.name + ":/data"}, args...)
	if _, err := s.dpu(ctx, append(argv, s.Image("busybox"), "sh", "-c", countScript)...); err != nil {
		return nil, errors.Join(err, w.remove(ctx))
	}
	return w, w.begins(ctx)
}

// ctrWitness starts a witness by ctr; its output goes from the shim into a file.
func (s *scene) ctrWitness(ctx context.Context) (*witness, error) {
	w := &witness{s: s, name: s.name("witness"), ctr: true}
	dir := dataDir + "/" + w.name
	if _, err := s.dpu(ctx, "mkdir", "-p", dir); err != nil {
		return nil, err
	}
	argv := s.CtrRun("-d", "--log-uri", "file://"+dir+"/log", "--mount", "type=bind,src="+dir+",dst=/data,options=rbind:rw",
		s.Image("busybox"), w.name, "sh", "-c", countScript)
	if _, err := s.dpu(ctx, argv...); err != nil {
		return nil, errors.Join(err, w.remove(ctx))
	}
	return w, w.begins(ctx)
}

// begins waits until it counts.
func (w *witness) begins(ctx context.Context) (err error) {
	if err := w.s.eventually(ctx, w.name+" begins to count", func(ctx context.Context) error { return w.beyond(ctx, 2) }); err != nil {
		return errors.Join(err, w.remove(ctx))
	}
	w.born, err = w.identity(ctx)
	return err
}

// identity is what is the same as long as it is the same process.
func (w *witness) identity(ctx context.Context) (string, error) {
	if w.ctr {
		out, err := w.s.on(ctx, w.s.DPU, "ctr tasks ls | grep '^"+w.name+" '")
		return strings.Join(strings.Fields(out), " "), err
	}
	return w.s.dpu(ctx, "docker", "inspect", "-f", "{{.State.Status}} {{.State.Pid}} {{.State.StartedAt}}", w.name)
}

// log is what it has written to its standard output.
func (w *witness) log(ctx context.Context) (string, error) {
	if w.ctr {
		return w.s.dpu(ctx, "cat", dataDir+"/"+w.name+"/log")
	}
	return w.s.dpu(ctx, "docker", "logs", w.name)
}

// at is how far it has counted.
func (w *witness) at(ctx context.Context) (int, error) {
	argv := []string{"docker", "logs", "--tail", "1", w.name}
	if w.ctr {
		argv = []string{"tail", "-n", "1", dataDir + "/" + w.name + "/log"}
	}
	out, err := w.s.dpu(ctx, argv...)
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, fmt.Errorf("%s counts %q", w.name, out)
	}
	return number, nil
}

// beyond fails until it has counted past the number.
func (w *witness) beyond(ctx context.Context, number int) error {
	at, err := w.at(ctx)
	if err == nil && at <= number {
		err = fmt.Errorf("%s is still at %d", w.name, at)
	}
	return err
}

// goesOn holds that it is the same as ever, counts on, can be entered, and reaches its network.
func (w *witness) goesOn(ctx context.Context) error {
	at, err := w.at(ctx)
	if err != nil {
		return err
	}
	if err := w.s.eventually(ctx, w.name+" counts on", func(ctx context.Context) error { return w.beyond(ctx, at) }); err != nil {
		return err
	}
	// What asks a daemon may find it busy with its own return.
	err = w.s.eventually(ctx, w.name+" can be entered", func(ctx context.Context) error {
		argv := []string{"docker", "exec", w.name, "ping", "-q", "-c", "1", "-W", "5", "172.17.0.1"}
		if w.ctr {
			argv = []string{"ctr", "tasks", "exec", "--exec-id", w.s.name("exec"), w.name, "true"}
		}
		_, err := w.s.dpu(ctx, argv...)
		return err
	})
	if err != nil {
		return err
	}
	if now, err := w.identity(ctx); err != nil || now != w.born {
		return errors.Join(fmt.Errorf("%s was %q and is %q", w.name, w.born, now), err)
	}
	return nil
}

// ends ends it and holds that its status is its own and that no number is missing.
func (w *witness) ends(ctx context.Context, mayLose bool) (err error) {
	defer func() { err = errors.Join(err, w.remove(ctx)) }()
	if w.ctr {
		if err := w.endsTask(ctx); err != nil {
			return err
		}
	} else {
		if _, err := w.s.dpu(ctx, "docker", "stop", "-t", "30", w.name); err != nil {
			return err
		}
		if code, err := w.s.dpu(ctx, "docker", "inspect", "-f", "{{.State.ExitCode}}", w.name); err != nil || code != "6" {
			return errors.Join(fmt.Errorf("%s ended with status %q, not 6", w.name, code), err)
		}
	}
	log, err := w.log(ctx)
	if err != nil {
		return err
	}
	file, err := w.s.dpu(ctx, "cat", dataDir+"/"+w.name+"/numbers")
	if err != nil {
		return err
	}
	if w.refused {
		// What could not be opened is not in the file, and was told to the container.
		told, err := w.s.on(ctx, w.s.DPU, "docker logs "+w.name+" 2>&1 >/dev/null | grep -ci 'too many open files'; true")
		if lost := missing(file); err != nil || strconv.Itoa(lost) != strings.TrimSpace(told) {
			return errors.Join(fmt.Errorf("file of %s: lacks %d numbers, and %s were refused", w.name, lost, told), err)
		}
		return complete(log)
	}
	if err := complete(file); err != nil {
		return fmt.Errorf("file of %s: %w", w.name, err)
	}
	if mayLose {
		if lost := missing(log); lost > 0 {
			w.s.note("dockerd lost %d lines that it had read", lost)
		}
		return nil
	}
	if err := complete(log); err != nil {
		return fmt.Errorf("output of %s: %w", w.name, err)
	}
	if counted, written := len(strings.Fields(log)), len(strings.Fields(file)); counted-written > 1 || counted < written {
		return fmt.Errorf("%s has counted to %d, and to %d in its file", w.name, counted, written)
	}
	return nil
}

func (w *witness) endsTask(ctx context.Context) error {
	if _, err := w.s.dpu(ctx, "ctr", "tasks", "kill", "-s", "TERM", w.name); err != nil {
		return err
	}
	err := w.s.eventually(ctx, w.name+" ends", func(ctx context.Context) error {
		state, err := w.s.on(ctx, w.s.DPU, "ctr tasks ls | grep '^"+w.name+" '")
		if err == nil && !strings.Contains(state, "STOPPED") {
			err = errors.New(state)
		}
		return err
	})
	if err != nil {
		return err
	}
	// It warns of a status that is not zero, and succeeds.
	said, err := w.s.on(ctx, w.s.DPU, "ctr tasks rm "+w.name+" 2>&1")
	if err == nil && !strings.Contains(said, "exit code 6") {
		err = fmt.Errorf("%s did not end with status 6: %q", w.name, said)
	}
	return err
}

// remove removes it, whatever state it is in.
func (w *witness) remove(ctx context.Context) error {
	if !w.ctr {
		_, err := w.s.dpu(ctx, "docker", "rm", "-f", "-v", w.name)
		return errors.Join(err, w.forget(ctx))
	}
	_, err := w.s.on(ctx, w.s.DPU, "ctr tasks rm -f "+w.name+" >/dev/null 2>&1; ctr containers rm "+w.name)
	return errors.Join(err, w.forget(ctx))
}

func (w *witness) forget(ctx context.Context) error {
	_, err := w.s.dpu(ctx, "rm", "-rf", dataDir+"/"+w.name)
	return err
}

// complete fails unless the numbers from one are all there, once and in order.
func complete(text string) error {
	for i, word := range strings.Fields(text) {
		if word != strconv.Itoa(i+1) {
			return fmt.Errorf("%q stands where %d should", word, i+1)
		}
	}
	return nil
}

// missing is how many numbers lack between the first and the last.
func missing(text string) int {
	words := strings.Fields(text)
	if len(words) == 0 {
		return 0
	}
	last, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		return 0
	}
	return last - len(words)
}
