package target

import (
	"time"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
)

// Announcements are config replies that nobody asked for: to every station, with
// a tag of zero. Linux's driver looks at a disk anew when it sees one, which is
// how it learns of a new size, MTU or path (H16, H19).

// announceAll announces every disk on the port, unless that was done a moment
// ago: then it remains to be done.
func (p *port) announceAll(now time.Time) {
	if !p.announced.IsZero() && now.Sub(p.announced) < announcePause {
		return
	}
	p.announce, p.announced = false, now
	p.counts.Announced++
	for _, d := range p.server.all() {
		announceOn(p.link, p.sectors, d)
	}
	p.publish()
}

// announceOn sends the config reply of d that nobody asked for. It allocates:
// announcements are rare, and made by any goroutine.
func announceOn(l link.Link, sectors int, d *disk) {
	h := frame.Header{
		Dst: frame.Broadcast, Src: l.State().MAC, Flags: frame.FlagResponse,
		Addr: d.addr, Command: aoe.CommandQueryConfigInformation,
	}
	b := h.Append(make([]byte, 0, frame.ConfigStringOffset+frame.MaxConfigString))
	l.Send([][]byte{d.appendConfig(b, d.settingsNow(), sectors, aoe.ConfigCommandRead)})
}

// announce tells every link of d.
func (s *Server) announce(d *disk) {
	for _, p := range s.allPorts() {
		announceOn(p.link, p.sectorsOf(p.link.State()), d)
	}
}
