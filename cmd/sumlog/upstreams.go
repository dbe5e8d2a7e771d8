// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/goenv"
	"example.org/sumlog/internal/netrc"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/mirror/upstream"
)

// upstreams are the parsed settings about the outside world.
type upstreams struct {
	public, private upstream.List
	spec            upstream.Spec
	globs           string
	credentials     *netrc.Finder
}

// upstreamFlags are the settings that say where modules and records come from.
var upstreamFlags = []string{"upstream", "sumdb", "private", "private-upstream"}

// inherited are the settings whose defaults are the go command's.
var inherited = []struct {
	name, goenv string
	field       func(*options) *string
}{
	{"upstream", "GOPROXY", func(o *options) *string { return &o.upstream }},
	{"sumdb", "GOSUMDB", func(o *options) *string { return &o.sumdb }},
	{"private", "GOPRIVATE", func(o *options) *string { return &o.private }},
}

// inherit fills what was set nowhere from what the go command uses. That it
// uses no checksum database is not taken over: for its user that is a risk of
// one machine, for an authority it is what everyone would then be told.
func (c *call) inherit(ctx context.Context) error {
	if c.From["upstream"] != "" && c.From["sumdb"] != "" && c.From["private"] != "" {
		return nil
	}
	env, err := goEnv(ctx)
	if err != nil {
		return cli.Hint(err, "install go, or pass -upstream, -sumdb and -private")
	}
	for _, s := range inherited {
		if c.From[s.name] != "" || s.goenv == "GOSUMDB" && env[s.goenv] == "off" {
			continue
		}
		*s.field(&c.opts) = env[s.goenv]
		c.From[s.name] = "go env " + s.goenv
	}
	if c.From["sumdb"] == "" {
		return cli.Usagef("go env GOSUMDB is off, and an authority would log whatever upstream says").
			Hint("pass -sumdb with the name of a checksum database, or -sumdb off if that is what you want")
	}
	return nil
}

// goEnv asks the go command for what is inherited from it.
func goEnv(ctx context.Context) (map[string]string, error) {
	return goenv.Get(ctx, "GOPROXY", "GOSUMDB", "GOPRIVATE")
}

// upstreams parses the settings about the outside world: for init, which stores them,
// as for all that use them. Those that were set nowhere, which only init lets be, are
// as off.
func (c *call) upstreams() (u upstreams, err error) {
	if c.From["upstream"] != "" {
		if u.public, err = c.list("upstream", c.opts.upstream); err != nil {
			return u, err
		}
	}
	if u.private, err = c.list("private-upstream", c.opts.privateUpstream); err != nil {
		return u, err
	}
	if c.From["sumdb"] != "" {
		if u.spec, err = upstream.ParseSpec(c.opts.sumdb); err != nil {
			return u, c.badSetting("sumdb", err)
		}
	}
	u.globs = c.opts.private
	u.credentials = netrc.New(func(err error) { fmt.Fprintf(c.Stderr, "sumlog: warning: %v\n", err) })
	if _, err := upstream.NewRouter(nil, nil, u.globs); err != nil {
		return u, c.badSetting("private", err)
	}
	return u, nil
}

// publicHosts returns URLs at the hosts of public upstreams and of the database.
func (u *upstreams) publicHosts() []*url.URL {
	var hosts []*url.URL
	for _, e := range u.public.Entries {
		if e.URL.Scheme != "file" {
			hosts = append(hosts, e.URL)
		}
	}
	if u.spec.URL != nil {
		hosts = append(hosts, u.spec.URL)
	}
	if host, _, _ := strings.Cut(u.spec.Name, "/"); host != "" {
		hosts = append(hosts, &url.URL{Scheme: "https", Host: host})
	}
	return hosts
}

// list parses a list of upstreams. Version control, "direct", is not supported
// yet: the go command would use it last, so the rest of the list is what it is.
func (c *call) list(name, text string) (upstream.List, error) {
	l, err := upstream.ParseList(text)
	if err != nil {
		return l, c.badSetting(name, err)
	}
	if !l.Direct {
		return l, nil
	}
	if len(l.Entries) == 0 {
		return l, cli.Usagef("%s (%s) is only direct, and version control is not supported yet", name, c.From[name]).
			Hint("pass -%s with the URL of a module proxy, or off", name)
	}
	return l, nil
}

// warn says what is odd about u and yet may be meant. Where the log is made, it says
// too what the operator may not have chosen, and need not hear again at each start.
func (c *call) warn(u *upstreams, made bool) {
	warning := func(format string, args ...any) { fmt.Fprintf(c.Stderr, "sumlog: warning: "+format+"\n", args...) }
	for _, s := range []struct {
		name string
		list upstream.List
	}{{"upstream", u.public}, {"private-upstream", u.private}} {
		from := c.From[s.name]
		if s.list.Direct && (made || strings.HasPrefix(from, "-") || strings.HasPrefix(from, "SUMLOG_")) {
			warning("direct is left out of %s (%s): version control is not supported yet", s.name, from)
		}
		for _, e := range s.list.Entries {
			if why := noTree(e.URL); why != "" {
				warning("%s (%s): %s %s", s.name, from, e.URL.Path, why)
			}
		}
	}
	if made && c.From["sumdb"] == "go env GOSUMDB" && !u.spec.Off && !u.spec.Known() {
		warning("go env GOSUMDB is %s: if that is another sumlog's, pasted into this shell, this log will ask it for everything", u.spec.Name)
		fmt.Fprintf(c.Stderr, "sumlog: hint: unset GOPROXY and GOSUMDB and begin anew, or change upstream and sumdb in %s\n",
			filepath.Join(c.opts.dir, settingsFile))
	}
}

// badSetting says which setting is malformed, and where it was made.
func (c *call) badSetting(name string, err error) error {
	return cli.Usagef("%s (from %s): %v", name, c.From[name], err)
}

// refuseSelf refuses upstreams and databases that are this server: it would
// wait for itself.
func (c *call) refuseSelf(u *upstreams, name string, listen net.Addr) error {
	const why = "GOPROXY and GOSUMDB of a client of sumlog are not settings for sumlog: unset them, or pass -%s"
	host, _, _ := strings.Cut(name, "/")
	for setting, l := range map[string]upstream.List{"upstream": u.public, "private-upstream": u.private} {
		for _, e := range l.Entries {
			if isSelf(e.URL, host, listen) {
				return cli.Usagef("%s (from %s): %s is this server itself", setting, c.From[setting], e.URL.Host).Hint(why, setting)
			}
		}
	}
	if u.spec.Off || u.spec.Name == "" {
		return nil
	}
	if u.spec.Name == name || u.spec.URL != nil && isSelf(u.spec.URL, host, listen) {
		return cli.Usagef("sumdb (from %s): %s is this server itself", c.From["sumdb"], u.spec.Name).Hint(why, "sumdb")
	}
	return nil
}

// isSelf reports whether u leads to the server of a log whose name begins with
// host and that listens at listen.
func isSelf(u *url.URL, host string, listen net.Addr) bool {
	to, err := outbound.HostOf(u)
	if err != nil {
		return false // a file tree, or nowhere
	}
	// localhost in a name says nothing about ports: it is the default.
	if own, err := outbound.HostOf(&url.URL{Scheme: "https", Host: host}); err == nil && own.Name() != "localhost" && own.Name() == to.Name() {
		return true
	}
	tcp, ok := listen.(*net.TCPAddr)
	if !ok || to.Port() != tcp.Port {
		return false
	}
	at := tcp.AddrPort().Addr().Unmap()
	if !at.IsValid() { // of ":8070", resolved
		at = netip.IPv6Unspecified()
	}
	for _, a := range addresses(to.Name()) {
		switch {
		case a.IsUnspecified() && (at.IsLoopback() || at.IsUnspecified()):
			return true // the kernel takes it for loopback
		case a == at, at.IsUnspecified() && ownAddress(a):
			return true
		}
	}
	return false
}

// addresses returns the addresses of host, an [outbound.Host]'s name, as far as
// they are known without asking anybody.
func addresses(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	me, err := os.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && host == strings.ToLower(me) {
		return append(ownAddresses(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	}
	return nil
}

func ownAddress(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(ownAddresses(), a) }

func ownAddresses() []netip.Addr {
	var own []netip.Addr
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then only loopback is known to be here
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap().WithZone(""))
		}
	}
	return own
}
