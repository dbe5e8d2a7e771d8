// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package outbound is how this product connects to the outside.
//
// What it connects to was named either by the operator (in a list of upstreams, a
// database's URL, a policy, the URL of a peer, a feed, a list, a bastion, an
// argument) or by somebody outside, who had a redirect or a name of his own lead
// there. The operator may name whatever he can reach. Nobody else may make this
// process ask what only this process can reach: its own machine, the network
// around it, the metadata service of the machine's host.
//
// # Hosts
//
// A [Host] is a name and a port, compared by what they mean: see [HostOf].
//
// # Connections
//
// A [Dialer] connects to a named Host at whatever address its name has, and to
// every other one at public addresses only. It looks at the address that it is
// about to connect to, after the name was resolved: a name that has a public
// address and an internal one, or another one each time, is no way round. A
// named Host is named with its port: a service on another port of the same
// machine was not meant.
//
// A proxy of the environment (HTTPS_PROXY and the like) connects by itself, to
// addresses that cannot be known here. Then the decision is by the name: an
// internal address or a name that is never public is refused if it was not
// named. The proxy itself is named, by the environment.
//
// A Dialer can bound the connections that are open at once. At the bound, those
// that are idle are closed first.
//
// # Exchanges
//
// A request that follows a redirect says as little as it can: see [Strip]. An
// answer that comes too slowly is cut off: see [Body].
//
// # What remains
//
// An address that is public by its number and yet reaches into the operator's
// network is not known to do so. A proxy of the environment that resolves a name
// to an internal address does as it likes.
package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// A Host is where a server listens. Hosts are equal if they mean the same.
type Host struct {
	name string // an address in its shortest form, or a name in lower case, without a dot at its end
	port uint16
}

func (h Host) String() string { return net.JoinHostPort(h.name, strconv.Itoa(int(h.port))) }

// Name returns the host without the port, as it is compared.
func (h Host) Name() string { return h.name }

// Port returns the port.
func (h Host) Port() int { return int(h.port) }

var ports = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// HostOf returns the host of a URL. These mean the same: upper and lower case,
// no port and the scheme's own, a port with zeros before it, a name with and
// without a dot at its end, a name in Unicode and in punycode, all ways to write
// an IPv6 address, an IPv4 address and its forms within IPv6 that lead to the
// same server. A zone does not count.
//
// A number that is no address, such as 127.1 or 0x7f000001, is an error: some
// resolvers take it for an address.
func HostOf(u *url.URL) (Host, error) {
	port := u.Port()
	if port == "" {
		port = ports[u.Scheme]
	}
	return newHost(u.Hostname(), port)
}

// Same reports whether two URLs have the same host.
func Same(a, b *url.URL) bool {
	h, err := HostOf(a)
	if err != nil {
		return false
	}
	other, err := HostOf(b)
	return err == nil && h == other
}

// ParseHost returns the host written HOST:PORT.
func ParseHost(addr string) (Host, error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return Host{}, fmt.Errorf("%.100q: not HOST:PORT", addr)
	}
	return newHost(name, port)
}

func newHost(name, port string) (Host, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Host{}, fmt.Errorf("host %.100q: port %.20q", name, port)
	}
	meant, err := meaning(name)
	return Host{meant, uint16(n)}, err
}

// meaning returns the one form of a host name or address.
func meaning(name string) (string, error) {
	s := name
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		// As net/http does before it connects.
		var err error
		if s, err = idna.Lookup.ToASCII(s); err != nil {
			return "", fmt.Errorf("host %.100q: malformed", name)
		}
	}
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if a, err := netip.ParseAddr(s); err == nil {
		return plain(a).String(), nil
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	if last == "" || numeric(last) || strings.ContainsAny(s, ":%[]/@") {
		return "", fmt.Errorf("host %.100q: malformed", name)
	}
	return s, nil
}

// numeric reports whether a label, in lower case, is a number to inet_aton.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// special are the names that are never of the public network: RFC 6761, 6762,
// 8375, and what ICANN keeps for private use.
var special = []string{"localhost", "local", "internal", "home.arpa"}

// local reports whether h is known, without asking anybody, not to be of the
// public network.
func (h Host) local() bool {
	if a, err := netip.ParseAddr(h.name); err == nil {
		return Internal(a)
	}
	if !strings.Contains(h.name, ".") {
		return true // completed by the resolver, with the operator's domain
	}
	for _, s := range special {
		if strings.HasSuffix(h.name, "."+s) {
			return true
		}
	}
	return h.name == "home.arpa"
}

// Redact returns u without user, password, query and fragment, for errors, reports and
// logs: any of them may be a secret, the user too when it is a token.
func Redact(u *url.URL) string {
	r := *u
	r.User, r.RawQuery, r.Fragment, r.RawFragment = nil, "", "", ""
	return r.String()
}
