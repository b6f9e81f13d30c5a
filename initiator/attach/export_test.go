package attach

import (
	"io"
	"net"
	"time"
)

// NegotiateNBD gives tests the negotiation without a server around it.
func NegotiateNBD(rw io.ReadWriter, name, description string, size int64, info Info) (structured bool, err error) {
	info, err = info.withDefaults()
	if err != nil {
		return false, err
	}
	return negotiateNBD(rw, nbdExport{
		name: name, description: description, size: size,
		flags: nbdFlagsOf(info), preferred: nbdPreferred(info.Preferred, nbdMaxPayload), maximum: nbdMaxPayload,
	})
}

// TransmitNBD gives tests the transmission phase on a connected socket, as the
// kernel's client would have it.
func TransmitNBD(conn *net.UnixConn, disk Disk, structured bool, inFlight int) error {
	info, err := disk.Info().withDefaults()
	if err != nil {
		return err
	}
	s, err := newStream(conn, time.Minute)
	if err != nil {
		return err
	}
	t := newNBDTransmission(disk, info, s, inFlight, new(nbdCounters))
	t.structured = structured
	if err := t.accompany(conn, time.Minute); err != nil {
		return err
	}
	return t.run()
}
