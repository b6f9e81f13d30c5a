package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"aoe/cmd/internal/orphan"
)

// WorkerName is the argument with which this program is started as a worker.
//
// Whatever reads and writes the attached disk runs in another process than the
// one that serves it. A process that is killed while a thread of its own waits
// for its own device cannot end: the kernel waits for the thread, the thread for
// the device, and the device for /dev/fuse to be closed, which happens when
// the process has ended.
const WorkerName = "lab-worker"

// A job is what a worker is to do: exactly one of the fields.
type job struct {
	Copy   *copyJob  `json:"copy,omitempty"`
	Verify *treeJob  `json:"verify,omitempty"`
	Model  *modelJob `json:"model,omitempty"`
}

type copyJob struct {
	From string `json:"from"`
	treeJob
}

type treeJob struct {
	Dir      string   `json:"dir"`
	Manifest Manifest `json:"manifest"`
}

type modelJob struct {
	Device    string `json:"device"`
	SizeBytes int64  `json:"sizeBytes"`
	Seed      uint64 `json:"seed"`
	Ops       int    `json:"ops"`
}

// A message is what a worker says: progress, any number of times, and then how
// it came out.
type message struct {
	Bytes    int64       `json:"bytes,omitempty"` // more that were moved
	Done     bool        `json:"done,omitempty"`
	Error    string      `json:"error,omitempty"`
	Manifest Manifest    `json:"manifest"` // of a copy: with the digests
	Model    ModelResult `json:"model"`
}

// Worker does the job that it reads from in and tells out how it goes. Its
// error is that it could not tell.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("lab: worker: %w", err)
	}
	t := teller{enc: json.NewEncoder(out)}
	last := message{Done: true}
	var err error
	switch {
	case j.Copy != nil:
		last.Manifest = j.Copy.Manifest
		err = last.Manifest.Copy(ctx, j.Copy.From, j.Copy.Dir, t.add)
	case j.Verify != nil:
		err = j.Verify.Manifest.Verify(ctx, j.Verify.Dir, t.add)
	case j.Model != nil:
		last.Model, err = j.Model.run(ctx, t.add)
	default:
		err = errors.New("lab: worker: nothing to do")
	}
	if err != nil {
		last.Error = err.Error()
	}
	return t.say(last)
}

// tellEvery bytes moved, a message is worth its while.
const tellEvery = 512 << 10

// A teller gathers progress. It may be used by any number of goroutines.
type teller struct {
	mu    sync.Mutex
	enc   *json.Encoder
	bytes int64
}

func (t *teller) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes += n
	if t.bytes >= tellEvery {
		_ = t.enc.Encode(message{Bytes: t.bytes}) // the last message tells
		t.bytes = 0
	}
}

func (t *teller) say(m message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m.Bytes, t.bytes = t.bytes, 0
	return t.enc.Encode(m)
}

func (j *modelJob) run(ctx context.Context, progress func(int64)) (ModelResult, error) {
	f, err := openDirect(j.Device)
	if err != nil {
		return ModelResult{}, err
	}
	done, err := CheckModel(ctx, ModelConfig{
		Disk: f, SizeBytes: j.SizeBytes, Workers: modelWorkers, Seed: j.Seed,
		Buffer: alignedBuffer, Progress: progress,
	}, j.Ops)
	return done, errors.Join(err, f.Close())
}

// work has a worker do the job, and returns its last message. When ctx ends the
// worker is killed.
func (l *Lab) work(ctx context.Context, j job, progress func(int64)) (message, error) {
	self, err := os.Executable()
	if err != nil {
		return message{}, fmt.Errorf("lab: %w", err)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return message{}, fmt.Errorf("lab: %w", err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, self, WorkerName)
	cmd.Env = append(os.Environ(), orphan.Mark(l.dir))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return message{}, fmt.Errorf("lab: starting a worker: %w", err)
	}
	var m message
	for dec := json.NewDecoder(out); !m.Done; progress(m.Bytes) {
		m = message{}
		if err = dec.Decode(&m); err != nil {
			break
		}
	}
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return m, ctx.Err()
	case err != nil:
		return m, fmt.Errorf("lab: the worker ended without a result: %w\n%s", errors.Join(err, waitErr), said.Bytes())
	case m.Error != "":
		return m, errors.New(m.Error)
	}
	return m, nil
}
