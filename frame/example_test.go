package frame_test

import (
	"fmt"

	"github.com/mdlayher/aoe"

	"aoe/frame"
)

var (
	target    = frame.MAC{0x02, 0, 0, 0, 0, 0x01}
	initiator = frame.MAC{0x02, 0, 0, 0, 0, 0x02}
)

// An initiator makes the header and the argument of a write in front of data that
// are in the frame's buffer already.
func Example_request() {
	buf := make([]byte, frame.ATADataOffset+frame.SectorSize)
	copy(buf[frame.ATADataOffset:], "data")

	h := frame.Header{
		Dst:     target,
		Src:     initiator,
		Addr:    frame.Addr{Shelf: 7, Slot: 3},
		Command: aoe.CommandIssueATACommand,
		Tag:     1,
	}
	frame.NewATA(frame.OpWriteExt, 2048, 1).Append(h.Append(buf[:0]))

	fmt.Println(frame.Describe(buf))
	// Output:
	// 02:00:00:00:00:02 > 02:00:00:00:00:01 e7.3 tag 0x00000001 WRITE SECTORS EXT lba 2048 count 1, length 548
}

// A target makes the request that it received the reply that it sends. Here
// somebody looks for disks.
func Example_reply() {
	buf := make([]byte, 0, 9014) // as large as the link's frames
	h := frame.Header{
		Dst:     frame.Broadcast,
		Src:     initiator,
		Addr:    frame.Anywhere,
		Command: aoe.CommandQueryConfigInformation,
		Tag:     2,
	}
	request := frame.Pad(frame.Config{Sub: aoe.ConfigCommandRead}.Append(h.Append(buf)))
	fmt.Println(frame.Describe(request))

	own := frame.Addr{Shelf: 7, Slot: 3}
	h, arg, err := frame.Parse(request)
	if err != nil || h.IsResponse() || !h.Addr.Covers(own) {
		return // not for this disk: silence
	}
	c, err := frame.ParseConfig(arg)
	if err != nil {
		return
	}
	frame.Reply(request, target, own)
	reply := frame.Pad(frame.Config{
		BufferCount: 16,
		SectorCount: uint8(frame.SectorsPerFrame(9000)),
		Sub:         c.Sub,
		String:      []byte("rack 7"),
	}.Append(request[:frame.HeaderLen]))
	fmt.Println(frame.Describe(reply))
	// Output:
	// 02:00:00:00:00:02 > ff:ff:ff:ff:ff:ff e*.* tag 0x00000002 config Read, length 60
	// 02:00:00:00:00:01 > 02:00:00:00:00:02 e7.3 tag 0x00000002 reply config Read: buffers 16, firmware 0x0000, sectors 17, "rack 7", length 60
}
