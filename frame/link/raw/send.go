package raw

import (
	"net"
	"time"

	"aoe/frame"

	//lint:ignore SA1019 see raw.go
	"github.com/mdlayher/raw"
)

// Send is [link.Link.Send]. An error of the system is the loss of one frame
// (H19): the library does not tell the few that mean more from the many that do
// not in a portable way, and a port that is of no more use is found out by Recv.
func (l *Link) Send(frames [][]byte) (int, error) {
	l.connMu.RLock()
	defer l.connMu.RUnlock()
	if l.isClosed() {
		return 0, l.errClosed()
	}
	// Where there are no deadlines the write does not wait either.
	_ = l.conn.SetWriteDeadline(time.Now().Add(sendPatience))
	n, bytes := 0, 0
	for _, f := range frames {
		if len(f) < frame.EthernetLen {
			continue
		}
		if _, err := l.conn.WriteTo(f, &raw.Addr{HardwareAddr: net.HardwareAddr(f[0:6])}); err == nil {
			n++
			bytes += len(f)
		}
	}
	l.counted.sent.Add(uint64(n))
	l.counted.sentBytes.Add(uint64(bytes))
	l.counted.sendDropped.Add(uint64(len(frames) - n))
	return n, nil
}
