package attach

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The interface of ublk, include/uapi/linux/ublk_cmd.h. Numbers are in the
// machine's byte order. Structures are encoded field by field, because the
// kernel's layout must not depend on what a compiler makes of ours.

// Control commands, sent to /dev/ublk-control, and the two commands of a queue,
// sent to the character device: _IOR and _IOWR of type 'u' and of the length
// of the structure that goes with them.
const (
	ublkCtrlLen = 32 // struct ublksrv_ctrl_cmd
	ublkIOLen   = 16 // struct ublksrv_io_cmd

	ublkRead      = 2<<30 | ublkCtrlLen<<16 | 'u'<<8
	ublkReadWrite = 3<<30 | ublkCtrlLen<<16 | 'u'<<8

	ublkGetDevInfo    = ublkRead | 0x02
	ublkAddDev        = ublkReadWrite | 0x04
	ublkDelDev        = ublkReadWrite | 0x05
	ublkStartDev      = ublkReadWrite | 0x06
	ublkStopDev       = ublkReadWrite | 0x07
	ublkSetParams     = ublkReadWrite | 0x08
	ublkGetParams     = ublkRead | 0x09
	ublkStartRecovery = ublkReadWrite | 0x10
	ublkEndRecovery   = ublkReadWrite | 0x11
	ublkGetFeatures   = ublkRead | 0x13
	ublkDelDevAsync   = ublkRead | 0x14
	ublkUpdateSize    = ublkReadWrite | 0x15

	ublkFetch  = 3<<30 | ublkIOLen<<16 | 'u'<<8 | 0x20
	ublkCommit = 3<<30 | ublkIOLen<<16 | 'u'<<8 | 0x21
)

// Features, UBLK_F_*.
const (
	ublkFeatRecovery   = 1 << 3
	ublkFeatReissue    = 1 << 4
	ublkFeatIoctl      = 1 << 6
	ublkFeatUserCopy   = 1 << 7
	ublkFeatUpdateSize = 1 << 10

	// ublkNeeded is what we cannot do without.
	ublkNeeded = ublkFeatRecovery | ublkFeatReissue | ublkFeatIoctl | ublkFeatUserCopy
)

// ublkNeededNames are for people, in the order of their bits.
var ublkNeededNames = []struct {
	bit  uint64
	name string
}{
	{ublkFeatRecovery, "USER_RECOVERY"},
	{ublkFeatReissue, "USER_RECOVERY_REISSUE"},
	{ublkFeatIoctl, "CMD_IOCTL_ENCODE"},
	{ublkFeatUserCopy, "USER_COPY"},
}

// A ublkState is a device's state, UBLK_S_DEV_*.
type ublkState uint16

const (
	ublkDead     ublkState = 0 // not started yet, or stopped
	ublkLive     ublkState = 1
	ublkQuiesced ublkState = 2 // its process died: requests wait for the next
)

func (s ublkState) String() string {
	switch s {
	case ublkDead:
		return "dead"
	case ublkLive:
		return "live"
	case ublkQuiesced:
		return "quiesced"
	}
	return fmt.Sprintf("state %d", uint16(s))
}

// Where the data of a request is in the character device (USER_COPY), and how
// long what the kernel tells of a request is in the mapping.
const (
	ublkDataBase  = 0x80000000 // UBLKSRV_IO_BUF_OFFSET
	ublkTagShift  = 25         // UBLK_TAG_OFF: 32 MiB for each request
	ublkDescLen   = 24         // struct ublksrv_io_desc
	ublkMaxDepth  = 4096       // UBLK_MAX_QUEUE_DEPTH
	ublkMaxIO     = 1 << ublkTagShift
	ublkAborted   = -19 // UBLK_IO_RES_ABORT, -ENODEV: do not fetch again
	ublkAnyDevice = math.MaxUint32
	ublkNoQueue   = math.MaxUint16
)

// ublkDataOffset is where the data of the request with that tag begins; there
// is one queue.
func ublkDataOffset(tag int) int64 { return ublkDataBase + int64(tag)<<ublkTagShift }

// What a request is, UBLK_IO_OP_*, and its flags, UBLK_IO_F_*.
const (
	ublkOpRead        = 0
	ublkOpWrite       = 1
	ublkOpFlush       = 2
	ublkOpDiscard     = 3
	ublkOpWriteZeroes = 5

	ublkFUA     = 1 << 13
	ublkNoUnmap = 1 << 15
)

// A ublkDesc is what the kernel tells of a request.
type ublkDesc struct {
	op      uint8
	flags   uint32 // ublkFUA, ...
	sectors uint32
	start   uint64 // sector
}

func parseUblkDesc(b []byte) ublkDesc {
	opFlags := binary.NativeEndian.Uint32(b)
	return ublkDesc{
		op: uint8(opFlags), flags: opFlags &^ 0xff,
		sectors: binary.NativeEndian.Uint32(b[4:]),
		start:   binary.NativeEndian.Uint64(b[8:]),
	}
}

// A ublkCtrl is a control command, struct ublksrv_ctrl_cmd. addr and len are
// those of a buffer that the kernel reads or fills.
type ublkCtrl struct {
	dev  uint32
	len  uint16
	addr uint64
	data uint64
}

func (c ublkCtrl) put(b []byte) {
	clear(b[:ublkCtrlLen])
	binary.NativeEndian.PutUint32(b, c.dev)
	binary.NativeEndian.PutUint16(b[4:], ublkNoQueue)
	binary.NativeEndian.PutUint16(b[6:], c.len)
	binary.NativeEndian.PutUint64(b[8:], c.addr)
	binary.NativeEndian.PutUint64(b[16:], c.data)
}

// putUblkIO encodes a struct ublksrv_io_cmd for queue 0. With USER_COPY it
// must not have an address.
func putUblkIO(b []byte, tag int, result int32) {
	clear(b[:ublkIOLen])
	binary.NativeEndian.PutUint16(b[2:], uint16(tag))
	binary.NativeEndian.PutUint32(b[4:], uint32(result))
}

// A ublkInfo is a device as the kernel tells of it, struct
// ublksrv_ctrl_dev_info.
type ublkInfo struct {
	queues, depth uint16
	state         ublkState
	maxIO         uint32 // bytes
	id            uint32
	pid           int32
	flags         uint64
	// mark is kept by the kernel for the process that serves the device, "for
	// ublksrv internal use": by it the next one finds its disk's device.
	mark uint64
}

const ublkInfoLen = 64

func (i ublkInfo) put(b []byte) {
	clear(b[:ublkInfoLen])
	binary.NativeEndian.PutUint16(b, i.queues)
	binary.NativeEndian.PutUint16(b[2:], i.depth)
	binary.NativeEndian.PutUint16(b[4:], uint16(i.state))
	binary.NativeEndian.PutUint32(b[8:], i.maxIO)
	binary.NativeEndian.PutUint32(b[12:], i.id)
	binary.NativeEndian.PutUint32(b[16:], uint32(i.pid))
	binary.NativeEndian.PutUint64(b[24:], i.flags)
	binary.NativeEndian.PutUint64(b[32:], i.mark)
}

func parseUblkInfo(b []byte) ublkInfo {
	_ = b[ublkInfoLen-1]
	return ublkInfo{
		queues: binary.NativeEndian.Uint16(b), depth: binary.NativeEndian.Uint16(b[2:]),
		state: ublkState(binary.NativeEndian.Uint16(b[4:])),
		maxIO: binary.NativeEndian.Uint32(b[8:]), id: binary.NativeEndian.Uint32(b[12:]),
		pid:   int32(binary.NativeEndian.Uint32(b[16:])),
		flags: binary.NativeEndian.Uint64(b[24:]), mark: binary.NativeEndian.Uint64(b[32:]),
	}
}

// Attributes, UBLK_ATTR_*, and which of the parameters are given.
const (
	ublkAttrReadOnly = 1 << 0
	ublkAttrCache    = 1 << 2
	ublkAttrFUA      = 1 << 3

	ublkParamBasic   = 1 << 0
	ublkParamDiscard = 1 << 1
)

// ublkParamsLen is that of struct ublk_params up to and with the discard
// parameters; later kernels know more, and take less.
const ublkParamsLen = 8 + 32 + 20

// ublkParams are what the block device is to be.
type ublkParams struct {
	types      uint32
	attrs      uint32
	blockShift uint8  // log2 of the logical block
	pageShift  uint8  // log2 of the physical block, and of the least and best I/O
	optShift   uint8  // log2 of the best I/O
	maxSectors uint32 // of a read or write
	sectors    uint64 // of the disk

	discardGranularity uint32 // bytes
	maxDiscard         uint32 // sectors; 0: not at all
	maxZeroes          uint32 // sectors; 0: not at all
}

func (p ublkParams) put(b []byte) {
	clear(b[:ublkParamsLen])
	binary.NativeEndian.PutUint32(b, ublkParamsLen)
	binary.NativeEndian.PutUint32(b[4:], p.types)
	binary.NativeEndian.PutUint32(b[8:], p.attrs)
	b[12], b[13], b[14], b[15] = p.blockShift, p.pageShift, p.optShift, p.pageShift
	binary.NativeEndian.PutUint32(b[16:], p.maxSectors)
	binary.NativeEndian.PutUint64(b[24:], p.sectors)
	// b[32:40] is the virtual boundary: none.
	binary.NativeEndian.PutUint32(b[44:], p.discardGranularity)
	binary.NativeEndian.PutUint32(b[48:], p.maxDiscard)
	binary.NativeEndian.PutUint32(b[52:], p.maxZeroes)
	binary.NativeEndian.PutUint16(b[56:], 1) // segments of a discard
}

func parseUblkParams(b []byte) ublkParams {
	_ = b[ublkParamsLen-1]
	return ublkParams{
		types: binary.NativeEndian.Uint32(b[4:]), attrs: binary.NativeEndian.Uint32(b[8:]),
		blockShift: b[12], pageShift: b[13], optShift: b[14],
		maxSectors: binary.NativeEndian.Uint32(b[16:]), sectors: binary.NativeEndian.Uint64(b[24:]),
		discardGranularity: binary.NativeEndian.Uint32(b[44:]),
		maxDiscard:         binary.NativeEndian.Uint32(b[48:]), maxZeroes: binary.NativeEndian.Uint32(b[52:]),
	}
}
