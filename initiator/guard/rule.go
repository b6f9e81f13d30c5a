package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"aoe/frame"
)

// EtherTypes and protocol numbers (IEEE 802 Numbers and Protocol Numbers of
// IANA).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// MaxRules is how long an allow list may be: each rule is some instructions that
// every foreign frame runs through in crunch.
const MaxRules = 64

// A Rule names frames that a guard passes even in crunch: see [ParseRules].
type Rule struct {
	text      string
	etherType uint16       // of the whole rule, if it is not about IP
	ip        bool         // any IP
	protocol  string       // "tcp", "udp", "icmp", or empty
	port      uint16       // of ours, or 0
	from      netip.Prefix // of theirs, or not valid
}

// String is the rule as it was written.
func (r Rule) String() string { return r.text }

// MarshalText is the rule as it was written.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText is the inverse of MarshalText.
func (r *Rule) UnmarshalText(text []byte) (err error) {
	*r, err = parseRule(string(text))
	return err
}

// RuleHelp is the grammar of an allow list, for help texts.
const RuleHelp = `  arp                    ARP: without it nobody finds this host over IPv4
  tcp:22@10.0.0.1        TCP to our port 22 from 10.0.0.1; also udp
  tcp@10.0.0.0/24        TCP to any port from a network: answers to us too
  icmp                   ICMP and, for IPv6, what takes ARP's place
  ip@fe80::1             anything from an IP address
  aoe                    any AoE: for other initiators and targets on this host
  ethertype:0x88cc       any frame with that EtherType`

// ErrRule is wrapped by errors about an allow list.
var ErrRule = errors.New("want arp, aoe, ethertype:0x88cc, or ip, tcp, udp or icmp with :PORT for tcp and udp and @ADDRESS or @ADDRESS/BITS")

// ParseRules reads an allow list: rules with commas between them. Where a rule
// of IP has an address it is about that family, otherwise about both. PORT is
// ours, ADDRESS theirs. Fragments of IP after the first have no port, and
// neither have IPv6 packets with extension headers.
func ParseRules(list string) ([]Rule, error) {
	var rules []Rule
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("guard: rule %q: %w", text, err)
		}
		rules = append(rules, r)
	}
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("guard: %d rules: at most %d", len(rules), MaxRules)
	}
	return rules, nil
}

func parseRule(text string) (r Rule, err error) {
	r.text = text
	what, address, hasAddress := strings.Cut(text, "@")
	name, number, hasNumber := strings.Cut(what, ":")
	switch name {
	case "arp", "aoe":
		r.etherType = typeARP
		if name == "aoe" {
			r.etherType = uint16(frame.EtherType)
		}
		if hasNumber || hasAddress {
			return r, fmt.Errorf("%s has neither port nor address: %w", name, ErrRule)
		}
	case "ethertype":
		n, err := strconv.ParseUint(number, 0, 16)
		if err != nil || hasAddress || n < 0x600 { // smaller ones are lengths (IEEE 802.3, 3.2.6)
			return r, fmt.Errorf("EtherTypes are 0x600 to 0xffff: %w", ErrRule)
		}
		r.etherType = uint16(n)
	case "ip", "icmp", "tcp", "udp":
		r.ip = true
		if name != "ip" {
			r.protocol = name
		}
		if hasNumber {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil || n == 0 || name == "ip" || name == "icmp" {
				return r, fmt.Errorf("port %q: %w", number, ErrRule)
			}
			r.port = uint16(n)
		}
	default:
		return r, ErrRule
	}
	if hasAddress {
		r.from, err = parsePrefix(address)
	}
	return r, err
}

// parsePrefix reads an address, or a network.
func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return netip.Prefix{}, fmt.Errorf("address %q: %w", s, ErrRule)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("network %q: %w", s, ErrRule)
	}
	return p.Masked(), nil
}

// of reports whether the rule is about the family.
func (r Rule) of(etherType uint16) bool {
	return r.ip && (!r.from.IsValid() || r.from.Addr().Is4() == (etherType == typeIPv4))
}

// number is the protocol's in the family, or 0 for any.
func (r Rule) number(etherType uint16) int32 {
	switch r.protocol {
	case "tcp":
		return protoTCP
	case "udp":
		return protoUDP
	case "icmp":
		if etherType == typeIPv6 {
			return protoICMPv6
		}
		return protoICMP
	}
	return 0
}
