package guard

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// ipPacket is a packet of IP to our port; options are IPv4's.
func ipPacket(from netip.Addr, proto uint8, port uint16, options []byte) []byte {
	b := make([]byte, 14, 128)
	var ip []byte
	if from.Is4() {
		binary.BigEndian.PutUint16(b[12:], typeIPv4)
		ip = make([]byte, 20)
		ip[0] = 4<<4 | byte(5+len(options)/4)
		ip[9] = proto
		copy(ip[12:], from.AsSlice())
	} else {
		binary.BigEndian.PutUint16(b[12:], typeIPv6)
		ip = make([]byte, 40)
		ip[0], ip[6] = 6<<4, proto
		copy(ip[8:], from.AsSlice())
	}
	b = append(append(b, ip...), options...)
	b = binary.BigEndian.AppendUint16(b, 40000)
	return append(binary.BigEndian.AppendUint16(b, port), make([]byte, 16)...)
}

// matches is the meaning of a rule, said in Go.
func (r Rule) matches(etherType uint16, from netip.Addr, proto uint8, port uint16) bool {
	if !r.ip {
		return r.etherType == etherType
	}
	if etherType != typeIPv4 && etherType != typeIPv6 || r.from.IsValid() && !r.from.Contains(from) {
		return false
	}
	switch r.protocol {
	case "icmp":
		return proto == protoICMP && etherType == typeIPv4 || proto == protoICMPv6 && etherType == typeIPv6
	case "tcp":
		return proto == protoTCP && (r.port == 0 || r.port == port)
	case "udp":
		return proto == protoUDP && (r.port == 0 || r.port == port)
	}
	return true
}

// TestAllowListMeansWhatItSays: every rule alone, and all of them together,
// against packets that nearly fit.
func TestAllowListMeansWhatItSays(t *testing.T) {
	texts := []string{
		"arp", "aoe", "ethertype:0x88cc", "ip", "tcp", "udp", "icmp", "tcp:22", "udp:53", "tcp:22@10.0.0.1", "udp@10.0.0.1",
		"tcp:22@10.0.0.0/8", "icmp@10.1.2.0/23", "ip@0.0.0.0/0", "ip@fe80::1", "tcp:22@2001:db8::/33", "icmp@::/0", "ip@10.0.0.1",
		"tcp:65535", "tcp:1",
	}
	froms := []string{
		"10.0.0.1", "10.0.0.2", "10.1.2.3", "10.1.3.255", "10.1.4.0", "11.0.0.1", "1.0.0.10", "fe80::1", "fe80::2", "2001:db8::1",
		"2001:db8:7fff::", "2001:db8:8000::", "::1",
	}
	lists := append(slices.Clone(texts), "tcp:22@10.0.0.1,arp,ip@fe80::1")
	for _, list := range lists {
		b := newBench(t, list)
		b.SetPressure(true)
		rules := b.cfg.Allow
		check := func(data []byte, etherType uint16, from netip.Addr, proto uint8, port uint16, what string) {
			t.Helper()
			want := slices.ContainsFunc(rules, func(r Rule) bool { return r.matches(etherType, from, proto, port) })
			if got := b.passes(t, data); got != want {
				t.Errorf("%s: from %v, EtherType %#x, protocol %d, port %d, %s: passes %v, want %v", list, from, etherType, proto, port, what, got, want)
			}
		}
		for _, s := range froms {
			from := netip.MustParseAddr(s)
			etherType := uint16(typeIPv4)
			if from.Is6() {
				etherType = typeIPv6
			}
			for _, proto := range []uint8{protoTCP, protoUDP, protoICMP, protoICMPv6, 22, 47, 255} {
				for _, port := range []uint16{22, 53, 1, 65535, 22 << 8, 0} {
					data := ipPacket(from, proto, port, nil)
					check(data, etherType, from, proto, port, "whole")
					// The ports are missing: rules with one do not fit.
					check(data[:len(data)-18], etherType, from, proto, 0, "cut")
					if from.Is4() {
						check(ipPacket(from, proto, port, make([]byte, 40)), etherType, from, proto, port, "with options")
						fragment := slices.Clone(data)
						fragment[14+7] = 1
						check(fragment, etherType, from, proto, 0, "a later fragment")
						first := slices.Clone(data)
						first[14+6] = 0x20 // more fragments
						check(first, etherType, from, proto, port, "the first fragment")
					}
				}
			}
		}
		for _, etherType := range []uint16{typeARP, 0x88a2, 0x88cc, 0xcc88, 0x8100, 0x0608} {
			data := foreign()
			binary.BigEndian.PutUint16(data[12:], etherType)
			check(data, etherType, netip.Addr{}, 0, 0, "")
			check(data[:14], 0, netip.Addr{}, 0, 0, "nothing but addresses and type")
		}
		// Half an IP header is nobody's.
		check(ipPacket(netip.MustParseAddr("10.0.0.1"), protoTCP, 22, nil)[:30], 0, netip.Addr{}, 0, 0, "cut in the header")
	}
}

// TestGuardSurvivesAnyFrame: whatever arrives, the program returns a verdict
// and counts it once.
func TestGuardSurvivesAnyFrame(t *testing.T) {
	b := newBench(t, "arp,tcp:22@10.0.0.1,icmp,ip@fe80::/10")
	b.SetPressure(true)
	rng := rand.New(rand.NewPCG(1, 1))
	types := []uint16{typeIPv4, typeIPv6, typeARP, 0x88a2, 0}
	const n = 5000
	for range n {
		data := make([]byte, 14+rng.IntN(80))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		binary.BigEndian.PutUint16(data[12:], types[rng.IntN(len(types))])
		b.passes(t, data)
	}
	s := b.Stats()
	if sum := s.Answers + s.Announcements + s.Asked + s.Passed + s.Allowed + s.Dropped + s.DroppedAoE; sum != n || s.Passed != 0 {
		t.Errorf("%d frames, counted as %+v", n, s)
	}
}

func TestParseRules(t *testing.T) {
	for _, list := range []string{"", " ", "arp", "arp, tcp:22@10.0.0.1 ,ethertype:0x88cc", "ip@10.0.0.0/8", "icmp@fe80::1"} {
		rules, err := ParseRules(list)
		if err != nil {
			t.Errorf("%q: %v", list, err)
		}
		for _, r := range rules {
			if again, err := ParseRules(r.String()); err != nil || again[0] != r {
				t.Errorf("%q is read as %+v, %v", r, again, err)
			}
		}
	}
	for _, list := range []string{
		"ssh", "tcp:", "tcp:0", "tcp:65536", "tcp:22:23", "ip:22", "icmp:8", "arp@10.0.0.1", "arp:1", "aoe:1", "aoe@10.0.0.1",
		"ethertype", "ethertype:46", "ethertype:0x10000", "ethertype:0x88cc@10.0.0.1", "tcp:22@", "tcp:22@example.org",
		"tcp:22@10.0.0.1/33", "ip@fe80::1%eth0", "ip@::ffff:10.0.0.1", "ip@::ffff:10.0.0.1/120", "@10.0.0.1", "tcp:-1", "tcp:+22",
	} {
		if rules, err := ParseRules(list); !errors.Is(err, ErrRule) {
			t.Errorf("%q is read as %v, %v", list, rules, err)
		}
	}
	long := ""
	for range MaxRules + 1 {
		long += "arp,"
	}
	if _, err := ParseRules(long); err == nil {
		t.Error("a list can be of any length")
	}
}

// TestLongestAllowList: with what takes most instructions.
func TestLongestAllowList(t *testing.T) {
	long := ""
	for range MaxRules {
		long += "tcp:22@2001:db8::1,"
	}
	b := newBench(t, long)
	b.SetPressure(true)
	if !b.passes(t, ipPacket(netip.MustParseAddr("2001:db8::1"), protoTCP, 22, nil)) {
		t.Error("what all rules name does not pass")
	}
}
