// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package outbound

import (
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSame(t *testing.T) {
	for _, alike := range [][]string{
		{"http://localhost", "http://localhost:80", "http://LOCALHOST", "http://localhost.", "http://LocalHost.:80/x", "http://localhost:", "http://localhost:080", "http://user@localhost", "http://ｌocalhost"},
		{"https://proxy.example", "https://proxy.example:443", "https://proxy.example.", "http://proxy.example:443", "https://proxy。example", "https://proxy.example。"},
		{"https://bücher.example", "https://BÜCHER.example", "https://xn--bcher-kva.example", "https://XN--Bcher-KVA.example.:443", "https://b%C3%BCcher.example"},
		{"http://127.0.0.1", "http://127.0.0.1:80", "http://127.0.0.1.", "http://[::ffff:127.0.0.1]", "http://[::FFFF:7f00:1]", "http://[64:ff9b::7f00:1]", "http://１２７.0.0.1"},
		{"http://[2001:db8::1]", "http://[2001:DB8:0:0:0:0:0:1]:80", "http://[2001:0db8::0001]"},
		{"http://[fe80::1%25eth0]", "http://[fe80::1]"},
	} {
		for _, a := range alike {
			for _, b := range alike {
				if !Same(parse(t, a), parse(t, b)) {
					t.Errorf("%s and %s are different", a, b)
				}
			}
		}
	}
	for _, other := range []string{
		"https://localhost", "http://localhost:81", "http://localhost.example", "http://local.host", "http://127.0.0.1", "http://127.0.0.2", "http://[::1]",
		"https://xn--bcher-kva.example:80", "http://[2001:db8::2]",
	} {
		for _, u := range []string{"http://localhost:80", "https://bücher.example", "http://[2001:db8::1]"} {
			if Same(parse(t, u), parse(t, other)) {
				t.Errorf("%s and %s are the same", u, other)
			}
		}
	}
}

// Some resolvers take a number for an address, and then it would mean a host that
// is written another way.
func TestMalformed(t *testing.T) {
	for _, s := range []string{
		"http://127.1", "http://2130706433", "http://0x7f.0.0.1", "http://0x7f000001", "http://0177.0.0.1", "http://127.0.0.01", "http://127.0.0.0x1", "http://1.2.3.4.5",
		"http://", "http://:80", "http://.", "http://a..", "http://a:99999", "gopher://a", "http://\u2024", "http://a\u200b\u0301b\u00ad.\u0301",
	} {
		u := parse(t, s)
		if h, err := HostOf(u); err == nil {
			t.Errorf("HostOf(%q) = %v", s, h)
		}
		if Same(u, u) {
			t.Errorf("%q is the same as itself", s)
		}
	}
	for _, s := range []string{"http://7zip", "http://0xy", "http://a.0b", "http://1.example"} {
		if _, err := HostOf(parse(t, s)); err != nil {
			t.Errorf("HostOf(%q): %v", s, err)
		}
	}
}

func TestInternal(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
		"169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8",
		"2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:c0a8:101::1", "2001:0:808:808::80ff:fffe", // 127.0.0.1 with all bits turned
	} {
		if !Internal(netip.MustParseAddr(s)) {
			t.Errorf("%s is public", s)
		}
	}
	for _, s := range []string{
		"8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.0.1", "100.63.0.1", "100.128.0.1", "169.253.0.1", "128.0.0.1", "11.0.0.1", "223.0.0.1", "1.0.0.1",
		"2001:4860::8888", "2a00::1", "64:ff9b::8.8.8.8", "2002:808:808::1", "::ffff:8.8.8.8", "fbff::1",
	} {
		if Internal(netip.MustParseAddr(s)) {
			t.Errorf("%s is internal", s)
		}
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"localhost", "BÜCHER.example.", "::FFFF:127.0.0.1", "fe80::1%x", "0x7f.1", "a。b", "xn--bcher-kva"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		h, err := newHost(name, "80")
		if err != nil {
			return
		}
		again, err := ParseHost(h.String())
		if err != nil || again != h {
			t.Errorf("%q means %v, and that %v, %v", name, h, again, err)
		}
	})
}

func TestStrip(t *testing.T) {
	request := func(u string) *http.Request {
		return &http.Request{URL: parse(t, u), Header: http.Header{"User-Agent": {"a"}, "Authorization": {"b"}, "Cookie": {"c"}, "X-Token": {"d"}, "Referer": {"e"}}}
	}
	all := http.Header{"User-Agent": {"a"}, "Authorization": {"b"}, "Cookie": {"c"}, "X-Token": {"d"}}
	bare := http.Header{"User-Agent": {"a"}}
	for _, tt := range []struct {
		via  []string
		to   string
		want http.Header
	}{
		{[]string{"https://a.example/1"}, "https://A.example.:443/2", all},
		{[]string{"https://a.example/1"}, "https://a.example:444/2", bare},
		{[]string{"https://a.example/1"}, "https://sub.a.example/2", bare},
		{[]string{"https://a.example/1"}, "https://u:p@b.example/2", bare},
		{[]string{"https://a.example/1", "https://b.example/2"}, "https://a.example/3", bare},
	} {
		var via []*http.Request
		for _, v := range tt.via {
			via = append(via, request(v))
		}
		r := request(tt.to)
		Strip(r, via)
		if d := cmp.Diff(tt.want, r.Header); d != "" || r.URL.User != nil {
			t.Errorf("from %q to %s, %v:\n%s", tt.via, tt.to, r.URL, d)
		}
	}
}

// A token is often the user's name, without a password.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://TOKEN@host/log":         "https://host/log",
		"https://u:p@host:8443/a?key=s":  "https://host:8443/a",
		"https://host/a#part":            "https://host/a",
		"file:///srv/log":                "file:///srv/log",
		"https://host/%2Fa":              "https://host/%2Fa",
		"https://:p@[::1]:8070/sumdb/x/": "https://[::1]:8070/sumdb/x/",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Redact(u); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}
