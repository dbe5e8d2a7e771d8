// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
)

// derivedFaults are the faults of what is derived from the log.
var derivedFaults = map[Fault]func(*Authority){
	LookupOther: lookupOther,
	LookupIndex: func(a *Authority) { a.lookupIndex(Victim - 1) },
	LookupAhead: func(a *Authority) { a.lookupIndex(a.Size()) },
	LookupGone:  lookupGone,
	ProxyLookup: func(a *Authority) { a.onlyCarried(lookupOther) },
	ProxyIndex:  func(a *Authority) { a.onlyCarried(func(a *Authority) { a.lookupIndex(Victim - 1) }) },
	ProxyGone:   func(a *Authority) { a.onlyCarried(lookupGone) },

	ListShort: func(a *Authority) {
		m := a.Module(Victim)
		a.at(m, "/@v/list", func(_ string, body []byte) []byte {
			return bytes.Replace(body, []byte(m.V+"\n"), nil, 1)
		})
	},
	ListPlain: func(a *Authority) {
		m := a.Module(Victim)
		a.at(m, "/@v/list", func(path string, body []byte) []byte {
			if strings.HasPrefix(path, "/cached-only/") {
				return body
			}
			return bytes.Replace(body, []byte(m.V+"\n"), nil, 1)
		})
	},
	ListExtra: func(a *Authority) {
		a.at(a.Module(Victim), "/@v/list", func(path string, body []byte) []byte {
			if !strings.HasPrefix(path, "/cached-only/") {
				return body
			}
			return append(bytes.Clone(body), "v1.7.0\n"...)
		})
	},
	LatestOther: func(a *Authority) {
		m := a.Module(Victim)
		a.at(m, "/@latest", func(string, []byte) []byte { return a.info(m.Version()) })
	},

	FeedGap:   feedTamper(func(f []feedItem) []feedItem { return without(f, Victim, Victim+1) }),
	FeedShort: feedTamper(func(f []feedItem) []feedItem { return f[:len(f)-10] }),
	FeedTwice: feedTamper(func(f []feedItem) []feedItem {
		return slices.Insert(f, 40, f[30:40]...)
	}),
	FeedTime: feedTamper(func(f []feedItem) []feedItem {
		f[Victim].time = f[Victim-1].time
		return f
	}),
	FeedOrder: feedTamper(func(f []feedItem) []feedItem {
		f[Victim].mod, f[Victim+1].mod = f[Victim+1].mod, f[Victim].mod
		return f
	}),
	FeedExtra: feedTamper(func(f []feedItem) []feedItem {
		x := f[Victim]
		x.mod.V = "v1.7.0"
		return slices.Insert(f, Victim, x)
	}),
	FeedEarly: feedTamper(func(f []feedItem) []feedItem {
		// Still increasing. What is before the second half is of older publications.
		for i := len(f) / 2; i < len(f); i++ {
			f[i].time = f[i-1].time.Add(time.Microsecond)
		}
		return f
	}),
	FeedPage: func(a *Authority) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.pageBack = 10
	},

	ZipOther: func(a *Authority) {
		m := a.Module(Victim)
		other := m
		other.Salt += " other"
		a.at(m, "/@v/"+m.V+".zip", func(string, []byte) []byte { return other.Zip() })
	},
	ZipGone: func(a *Authority) {
		m := a.Module(Victim)
		for _, p := range []string{"/", "/cached-only/"} {
			gone(a, p+escapePath(m)+"/@v/"+m.V+".zip")
		}
	},
	ModOther: func(a *Authority) {
		m := a.Module(Victim)
		a.at(m, "/@v/"+m.V+".mod", func(_ string, body []byte) []byte {
			return append(bytes.Clone(body), "// other\n"...)
		})
	},
	InfoOther: func(a *Authority) { a.infoOther("/") },
	InfoCache: func(a *Authority) { a.infoOther("/cached-only/") },
}

func lookupOther(a *Authority) {
	from, to := a.Entry(Victim), a.Entry(Victim-1)
	a.lookupTamper(func(body []byte) []byte { return bytes.Replace(body, from, to, 1) })
}

// lookupIndex has the victim's lookup name another index.
func (a *Authority) lookupIndex(i int64) {
	a.lookupTamper(func(body []byte) []byte {
		return bytes.Replace(body, fmt.Append(nil, Victim, "\n"), fmt.Append(nil, i, "\n"), 1)
	})
}

func lookupGone(a *Authority) { gone(a, "/lookup/"+escape(a.Module(Victim))) }

// infoOther has the victim's .info below a path name the version before.
func (a *Authority) infoOther(below string) {
	m, before := a.Module(Victim), a.Module(Victim-1)
	a.at(m, "/@v/"+m.V+".info", func(path string, body []byte) []byte {
		if !strings.HasPrefix(path, below) {
			return body
		}
		return a.info(before.Version())
	})
}

func escapePath(m Module) string {
	p, err := module.EscapePath(m.Path)
	must(err)
	return p
}

func escape(m Module) string {
	v, err := module.EscapeVersion(m.V)
	must(err)
	return escapePath(m) + "@" + v
}

// at changes the good answers at a path below that of a module.
func (a *Authority) at(m Module, path string, change func(path string, body []byte) []byte) {
	plain := "/" + escapePath(m) + path
	a.Tamper(func(p string, _ url.Values, status int, body []byte) (int, []byte) {
		if status == http.StatusOK && (p == plain || p == "/cached-only"+plain) {
			body = change(p, body)
		}
		return status, body
	})
}

// lookupTamper changes the answer to the victim's lookup.
func (a *Authority) lookupTamper(change func(body []byte) []byte) {
	path := "/lookup/" + escape(a.Module(Victim))
	a.Tamper(func(p string, _ url.Values, status int, body []byte) (int, []byte) {
		if p == path {
			body = change(body)
		}
		return status, body
	})
}

// A feedItem is a line of the feed. Its index is what after= counts.
type feedItem struct {
	index int64
	mod   Module
	time  time.Time
}

// maxPage is the largest page of the feed, and the default.
const maxPage = 2000

// feedItems returns the whole feed. The time of an entry is that of the publication
// that first covers it, or a microsecond after the entry before, if that is later.
func (a *Authority) feedItems() []feedItem {
	var list []feedItem
	for _, p := range a.archive[:a.shown+1] {
		for n := len(list); int64(n) < p.Size; n++ {
			t := p.Time
			if n > 0 && !t.After(list[n-1].time) {
				t = list[n-1].time.Add(time.Microsecond)
			}
			list = append(list, feedItem{int64(n), a.entries[n].mod, t})
		}
	}
	for _, change := range a.feeds {
		list = change(list)
	}
	return list
}

func feedTamper(change func([]feedItem) []feedItem) func(*Authority) {
	return func(a *Authority) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.feeds = append(a.feeds, change)
	}
}

func without(f []feedItem, i, j int) []feedItem { return slices.Delete(f, i, j) }

// feed serves the feed.
func (a *Authority) feed(query url.Values) answer {
	bad := answer{http.StatusBadRequest, typeText, []byte("bad query\n")}
	limit, after, since := maxPage, int64(-1), time.Time{}
	var err error
	if s := query.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 {
			return bad
		}
		limit = min(limit, maxPage)
	}
	if s := query.Get("after"); s != "" {
		if after, err = strconv.ParseInt(s, 10, 64); err != nil || after < -1 {
			return bad
		}
	}
	if s := query.Get("since"); s != "" {
		if since, err = time.Parse(time.RFC3339, s); err != nil {
			return bad
		}
	}
	items := a.feedItems()
	first := slices.IndexFunc(items, func(x feedItem) bool { return x.index > after && !x.time.Before(since) })
	if first < 0 {
		first = len(items)
	}
	if first > 0 {
		first = max(0, first-a.pageBack)
	}
	prefix := query.Get("prefix")
	var b bytes.Buffer
	for _, x := range items[first:] {
		if limit == 0 {
			break
		}
		if prefix == "" || x.mod.Path == prefix || strings.HasPrefix(x.mod.Path, prefix+"/") {
			b.Write(x.line())
			limit--
		}
	}
	return ok(typeJSON, b.Bytes())
}

func (x feedItem) line() []byte {
	line, err := json.Marshal(struct{ Path, Version, Timestamp string }{
		x.mod.Path, x.mod.V, x.time.Format(time.RFC3339Nano)})
	must(err)
	return append(line, '\n')
}
