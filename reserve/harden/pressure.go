package harden

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A PressureConfig says whom to tell.
type PressureConfig struct {
	// Tell is called with true when the machine's tasks begin to wait for
	// memory, and with false when they have stopped. It is called by one
	// goroutine, and never twice with the same value.
	Tell func(on bool)
	// Calm is how long nothing may have waited before the shortage is over.
	// Zero means 6 s; negative is refused.
	Calm time.Duration
}

// DefaultCalm is what a zero PressureConfig.Calm means: three windows, so that
// pressure that goes on, and is reported once in each, is one shortage.
const DefaultCalm = 6 * time.Second

// PressureStats is what a Pressure has seen.
type PressureStats struct {
	On     bool   `json:"on"`
	Began  uint64 `json:"began"`  // shortages that began
	Ended  uint64 `json:"ended"`  // and those that ended
	Events uint64 `json:"events"` // windows in which the kernel saw the threshold passed
}

// A trigger is the kernel's side of pressure.
type trigger interface {
	// wait waits for an event. It returns false after the timeout (negative:
	// none), and [errStopped] after stop.
	wait(timeout time.Duration) (event bool, err error)
	stop() error
	close() error
}

var errStopped = errors.New("harden: no longer watched")

// A Pressure watches the kernel's account of tasks that wait for memory. It is an
// early warning and nothing else: it needs a thread that is scheduled and a
// kernel that counts, and whoever relies on being warned is lost when there is
// no time for it. The reserve is what holds without it.
type Pressure struct {
	cfg     PressureConfig
	trigger trigger
	ended   chan struct{}
	err     error // why it ended; valid after ended

	once   sync.Once
	closed error // what Close found

	on                   atomic.Bool
	began, over, windows atomic.Uint64
}

// WatchPressure starts to watch. The error says what is missing, for instance a
// kernel without pressure stall information.
func WatchPressure(cfg PressureConfig) (*Pressure, error) {
	t, err := memoryTrigger()
	if err != nil {
		return nil, err
	}
	p, err := watchPressure(cfg, t)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return p, nil
}

func watchPressure(cfg PressureConfig, t trigger) (*Pressure, error) {
	if cfg.Tell == nil {
		return nil, errors.New("harden: PressureConfig.Tell is needed")
	}
	if cfg.Calm < 0 {
		return nil, errors.New("harden: PressureConfig.Calm is negative")
	}
	if cfg.Calm == 0 {
		cfg.Calm = DefaultCalm
	}
	p := &Pressure{cfg: cfg, trigger: t, ended: make(chan struct{})}
	go p.watch() // ends with Close
	return p, nil
}

func (p *Pressure) watch() {
	defer close(p.ended)
	for {
		timeout := time.Duration(-1)
		if p.on.Load() {
			timeout = p.cfg.Calm
		}
		event, err := p.trigger.wait(timeout)
		switch {
		case err != nil:
			if !errors.Is(err, errStopped) {
				p.err = err
			}
			p.change(false) // nobody would say when it is over
			return
		case event:
			p.windows.Add(1)
			p.change(true)
		default:
			p.change(false)
		}
	}
}

func (p *Pressure) change(on bool) {
	if p.on.Swap(on) == on {
		return
	}
	if on {
		p.began.Add(1)
	} else {
		p.over.Add(1)
	}
	p.cfg.Tell(on)
}

// Stats may be called at any time. It does not allocate.
func (p *Pressure) Stats() PressureStats {
	return PressureStats{On: p.on.Load(), Began: p.began.Load(), Ended: p.over.Load(), Events: p.windows.Load()}
}

// Close ends the watching; a shortage that was told of is told to be over. The
// error is why it had ended before.
func (p *Pressure) Close() error {
	p.once.Do(func() {
		err := p.trigger.stop()
		<-p.ended
		p.closed = errors.Join(p.err, err, p.trigger.close())
	})
	return p.closed
}
