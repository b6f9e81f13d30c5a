package initiator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aoe/frame"
	"aoe/initiator/engine"
)

// A finder finds the paths to a disk.
type finder struct {
	cfg Config

	target   Target         // the first that has shown the disk
	identify frame.Identify // what it said
	data     []byte         // in its own words
	instance frame.Instance // of the target that said it last
	payload  int            // sectors in a frame that get through on every path
	paths    []engine.Path
	// generations are those of the ports' states before anything was asked:
	// what changes meanwhile, the loop takes notice of.
	generations []uint32
}

// otherTime is how long a port is given to find the disk, when another has found
// it: where nobody answers then, the engine goes on asking.
const otherTime = time.Second

// everywhere looks for the disk behind every port: until one has found it they
// are asked in turn, and then the others for a shorter time. It is no failure when
// some do not find it.
func (f *finder) everywhere(ctx context.Context) error {
	ports := f.cfg.ports()
	for _, p := range ports {
		if p.Link == nil {
			return errors.New("initiator: a port in Config.Others has no link")
		}
		if p.Tags != nil {
			p.Tags.Ask()
		}
		f.generations = append(f.generations, p.Link.State().Generation)
	}
	looked := make([]bool, len(ports))
	for f.data == nil {
		var missing []error
		for i := range ports {
			limited, cancel := ctx, context.CancelFunc(func() {})
			if len(ports) > 1 {
				limited, cancel = context.WithTimeout(ctx, otherTime)
			}
			err := f.behind(limited, i)
			cancel()
			if err != nil && (!errors.Is(err, ErrNoAnswer) || len(ports) == 1) {
				return err
			}
			if err != nil {
				missing = append(missing, err)
			}
			looked[i] = true
			if f.data != nil {
				break
			}
		}
		if f.data == nil && ctx.Err() != nil {
			return errors.Join(missing...)
		}
	}
	for i := range ports {
		if looked[i] {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, otherTime)
		err := f.behind(limited, i)
		cancel()
		if err != nil && !errors.Is(err, ErrNoAnswer) {
			return err
		}
	}
	f.unknown(ports)
	return nil
}

// behind looks for the disk behind port i, and adds a path for each port of a
// target that shows it. Of several targets the first is used; the frames suit all.
func (f *finder) behind(ctx context.Context, i int) error {
	p := f.cfg.ports()[i]
	a := newAsker(p.Link)
	cfg := f.cfg
	if f.data != nil {
		cfg.Serial = f.identify.Serial
	}
	targets, id, data, err := a.look(ctx, cfg)
	if errors.Is(err, ErrReplaced) && f.data != nil && f.cfg.Serial == "" {
		return fmt.Errorf("initiator: %v: %w: %q and others, behind %s: say which in Config.Serial",
			cfg.Addr, ErrAmbiguous, f.identify.Serial, p.Link.State().Name)
	}
	if errors.Is(err, ErrReplaced) && f.data != nil {
		return nil // not ours; the engine will see when ours is there
	}
	if err != nil {
		return err
	}
	for _, t := range targets {
		payload, instance, err := a.provePayload(ctx, f.cfg, t, id.Serial)
		if err != nil {
			if len(targets) > 1 && errors.Is(err, ErrNoAnswer) && ctx.Err() == nil {
				continue // another of its ports may do
			}
			return err
		}
		if f.data == nil {
			f.target, f.identify, f.data, f.payload, f.instance = t, id, data, payload, instance
		}
		f.payload = min(f.payload, payload)
		if len(f.paths) < engine.MaxPaths {
			f.paths = append(f.paths, engine.Path{Port: i, Local: p.Link.State().MAC, Remote: t.MAC, Proven: instance == f.instance})
		}
	}
	if f.data == nil {
		return fmt.Errorf("initiator: %v: %w to long frames, though %d ports to short ones", cfg.Addr, ErrNoAnswer, len(targets))
	}
	return nil
}

// unknown adds a path for each port behind which nothing was found: the engine
// goes on asking there.
func (f *finder) unknown(ports []Port) {
	for i, p := range ports {
		known := false
		for _, path := range f.paths {
			known = known || path.Port == i
		}
		if !known && len(f.paths) < engine.MaxPaths {
			f.paths = append(f.paths, engine.Path{Port: i, Local: p.Link.State().MAC})
		}
	}
}
