package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"aoe/frame"
	"aoe/frame/link/veth"
	"aoe/target"
	"aoe/target/store"
)

// A served disk can be silenced, as if its target's plug were pulled.
type served interface {
	silence(frame.Addr) error
	close() error
}

// makeDisks makes a file for each disk in dir.
func makeDisks(dir string, m Machine) (paths []string, err error) {
	for i := range max(m.Disks, 0) {
		path := filepath.Join(dir, diskAddr(i).String()+".img")
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			err = f.Truncate(m.DiskBytes)
			if i == 0 && err == nil {
				_, err = f.WriteAt(m.Image, 0)
			}
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("guest: make a disk: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// serve serves the files as disks on the target's host.
func (k *Kernel) serve(n network, m Machine, dir string, paths []string) (served, error) {
	switch m.Target {
	case "vblade":
		return serveVblade(n, paths)
	case "serve":
		return k.serveProcess(n, m, dir, paths)
	}
	mode := target.ModeSync
	if m.WriteBack {
		mode = target.ModeFlush
	}
	return serveOwn(n, paths, mode)
}

// An own is our target, in this process.
type own struct {
	server *target.Server
	stop   context.CancelFunc
	done   chan error
}

func serveOwn(n network, paths []string, mode target.Mode) (_ *own, err error) {
	s, err := target.New(target.Config{WireEdits: target.EditsNone})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for i, path := range paths {
		st, err := store.Open(store.Config{Path: path})
		if err != nil {
			return nil, err
		}
		if err := s.AddDisk(target.Disk{Addr: diskAddr(i), Store: st, Mode: mode, Model: "aoe lab guest"}); err != nil {
			return nil, errors.Join(err, st.Close())
		}
	}
	port, err := n.open(targetHost)
	if err == nil {
		err = s.AddLink(port)
	}
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	o := &own{server: s, stop: stop, done: make(chan error, 1)}
	go func() { o.done <- s.Serve(ctx) }() // ends with close
	return o, nil
}

func (o *own) silence(addr frame.Addr) error { return o.server.RemoveDisk(addr) }

func (o *own) close() error {
	o.stop()
	return <-o.done
}

// A vblade is one process for each disk.
type vblade struct{ procs map[frame.Addr]*veth.Cmd }

func serveVblade(n network, paths []string) (*vblade, error) {
	v := &vblade{procs: map[frame.Addr]*veth.Cmd{}}
	h := n.Hosts[targetHost]
	for i, path := range paths {
		a := diskAddr(i)
		cmd := h.Command("vblade", "-d", strconv.Itoa(int(a.Shelf)), strconv.Itoa(int(a.Slot)), h.Interface, path)
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(fmt.Errorf("guest: %w: apt-get install vblade", err), v.close())
		}
		v.procs[a] = cmd
	}
	return v, nil
}

func (v *vblade) silence(addr frame.Addr) error {
	cmd := v.procs[addr]
	if cmd == nil {
		return fmt.Errorf("guest: there is no disk %s", addr)
	}
	delete(v.procs, addr)
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("guest: end vblade: %w", err)
	}
	_ = cmd.Wait() // it was killed: that is what Wait tells
	return nil
}

func (v *vblade) close() error {
	var errs []error
	for addr := range v.procs {
		errs = append(errs, v.silence(addr))
	}
	return errors.Join(errs...)
}
