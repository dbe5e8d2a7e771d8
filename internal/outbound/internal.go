// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package outbound

import "net/netip"

// internal are the addresses that are not of the public network. Those kept for
// documentation and for measurements (RFC 5737, 2544) are not among them: who
// uses them in fact, as some gateways do, means what is outside.
var internal = prefixes(
	"0.0.0.0/8",         // this network; 0.0.0.0 connects to this machine
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // behind a carrier's NAT; a metadata service at 100.100.100.200
	"127.0.0.0/8",       // loopback
	"168.63.129.16/32",  // a metadata service
	"169.254.0.0/16",    // link-local; metadata services
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments; a metadata service
	"192.168.0.0/16",    // private
	"224.0.0.0/3",       // multicast, reserved, broadcast
	"::/128", "::1/128", // unspecified, loopback
	"64:ff9b:1::/48", // NAT64 of a site: where it leads is the site's to know
	"fc00::/7",       // private; metadata services
	"fe80::/10",      // link-local
	"fec0::/10",      // site-local, as it was once
	"ff00::/8",       // multicast
)

var (
	compatible = netip.MustParsePrefix("::/96")        // IPv4-compatible, RFC 4291
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")    // RFC 4380
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// plain returns the address of the server that a leads to: an IPv4 address for
// its form in IPv6.
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// Internal reports whether a is an address of this machine, of a private network,
// of a metadata service, or of nobody in particular, or leads to one.
func Internal(a netip.Addr) bool {
	a = plain(a)
	for _, p := range internal {
		if p.Contains(a) {
			return true
		}
	}
	if a.Is4() {
		return false
	}
	b := a.As16()
	switch {
	case compatible.Contains(a):
		return Internal(netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(a):
		return Internal(netip.AddrFrom4([4]byte(b[2:6])))
	case teredo.Contains(a): // it has the client's address with all bits turned
		return Internal(netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	return false
}
