package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/mdlayher/aoe"

	"aoe/frame"
	"aoe/frame/link"
	"aoe/frame/link/echo"
)

// bareBatch is the most requests that a bare target receives and answers at once.
const bareBatch = 32

// serveBare serves the image on the interface as plainly as can be.
func serveBare(ctx context.Context, ifname, image string) (err error) {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return onRing(ctx, ifname, 0, func(l link.Link) error { return answerBare(l, file) })
}

// A file is what answerBare reads and writes.
type file interface {
	io.ReaderAt
	io.WriterAt
}

// answerBare answers reads and writes until l is closed: a batch of requests, a call
// for each of them, and a batch of answers. It keeps no order, remembers nothing and
// looks at nobody's right to ask. So a target that receives by the same link and makes
// a call for each request can hardly be faster: it is to a disk what the echo is to the
// link.
func answerBare(l link.Link, f file) error {
	mac := l.State().MAC
	return echo.Answer(l, frameBuffers(bareBatch), func(b []byte) ([]byte, error) {
		h, arg, err := frame.Parse(b)
		if err != nil || h.IsResponse() || h.Command != aoe.CommandIssueATACommand {
			return nil, nil
		}
		a, data, err := frame.ParseATA(arg)
		if err != nil {
			return nil, nil
		}
		answer := b[:frame.MinLen]
		length, offset := int(a.Count)*frame.SectorSize, int64(a.Address())*frame.SectorSize
		switch {
		case a.Op.IsRead() && length <= cap(b)-frame.ATADataOffset:
			answer = b[:frame.ATADataOffset+length]
			_, err = f.ReadAt(answer[frame.ATADataOffset:], offset)
		case a.Op.IsWrite() && length <= len(data):
			_, err = f.WriteAt(data[:length], offset)
		default:
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		frame.Reply(answer, mac, h.Addr)
		frame.PutResult(answer, frame.StatusDRDY, 0, 0)
		return answer, nil
	})
}

// frameBuffers are for frames whose data begins in the middle of a page, as that of
// our target: copies are fastest so (target/buffers.go).
func frameBuffers(n int) [][]byte {
	const page = 4096
	const stride = (frameRoom + page - 1) / page * page
	slab := make([]byte, page+n*stride)
	bufs := make([][]byte, n)
	for i := range bufs {
		from := page/2 - frame.ATADataOffset + i*stride
		bufs[i] = slab[from : from+stride : from+stride]
	}
	return bufs
}
