// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Victim is the index of the entry that most faults are about, a release; another
// release of the same module is before it.
const Victim = 9

// A Fault is one thing that is wrong.
type Fault string

// Faults of heads. Those of the first group show only to a client that has seen
// what was published before.
const (
	Fork         Fault = "fork"         // from entry 560 on another history, and ten more entries
	Equivocation Fault = "equivocation" // another last entry at the same size
	Rollback     Fault = "rollback"     // the publication before the newest, and nothing of the newest
	TwoFaced     Fault = "two-faced"    // a fork as above that the first witness has cosigned too

	ArchiveFork       Fault = "archive-fork"        // one checkpoint of the archive is of another history
	TreeHeadOther     Fault = "tree-head-other"     // the newest tree head has another root than the checkpoint
	TreeHeadFork      Fault = "tree-head-fork"      // it is smaller, and of another history
	ArchiveTreeHead   Fault = "archive-tree-head"   // one tree head of the archive is
	ProxyFork         Fault = "proxy-fork"          // all below /sumdb/NAME/ is of a fork as above
	LookupFork        Fault = "lookup-fork"         // the victim's lookup has a tree head of another history
	ProxyFrozen       Fault = "proxy-frozen"        // the tree head below /sumdb/NAME/ stays what it was a publication ago
	ArchiveTime       Fault = "archive-time"        // the times of the archive go back once
	WitnessRollback   Fault = "witness-rollback"    // the first witness cosigned a smaller tree after a larger one
	StaleCosignatures Fault = "stale-cosignatures"  // of two days ago
	FutureCosignature Fault = "future-cosignature"  // of the first two witnesses, of tomorrow
	BadCosignature    Fault = "bad-cosignature"     // of the first witness, with a bit flipped
	TooFew            Fault = "too-few-witnesses"   // only the first witness has cosigned the newest checkpoint
	Monitor           Fault = "witness-shows-other" // the first witness shows a checkpoint of another history
)

// Faults of entries: a bad one, and then good ones, are logged and published.
const (
	Duplicate    Fault = "duplicate"      // the victim's record again
	Conflict     Fault = "conflict"       // another record of the victim
	CRLF         Fault = "crlf"           // lines that end in a carriage return too
	ExtraLine    Fault = "extra-line"     // a third line
	MissingLine  Fault = "missing-line"   // only the first line
	NoNewline    Fault = "no-newline"     // none at the end
	TwoSpaces    Fault = "two-spaces"     // between path and version
	OtherVersion Fault = "other-version"  // on the second line
	BadHash      Fault = "bad-hash"       // a hash one byte short
	Empty        Fault = "empty"          // no bytes at all
	OddVersion   Fault = "odd-version"    // one that the go command would not ask for
	ModUnlikeZip Fault = "mod-unlike-zip" // the go.mod that is logged is not that of the zip
)

// Faults of tiles.
const (
	WrongTile     Fault = "wrong-tile"     // a full tile of level 0
	WrongUpper    Fault = "wrong-upper"    // the tile of level 1
	WrongDatabase Fault = "wrong-database" // the full tile of the go command's layout only
	WrongPartial  Fault = "wrong-partial"  // the partial tile of an older publication, and no other
	WrongEdge     Fault = "wrong-edge"     // the partial tile of the newest publication
	WrongBundle   Fault = "wrong-bundle"   // the victim's record in its bundle
	WrongData     Fault = "wrong-data"     // the victim's record in the go command's data tile only
	BundleGone    Fault = "bundle-gone"    // the first bundle, in both layouts
	ProxyTile     Fault = "proxy-tile"     // a full tile of level 0 below /sumdb/NAME/ only
	ProxyData     Fault = "proxy-data"     // the victim's record in the data tile there only
)

// Faults of what is derived from the log.
const (
	LookupOther Fault = "lookup-other" // the victim's lookup has the record of the version before
	LookupIndex Fault = "lookup-index" // it has another index
	LookupAhead Fault = "lookup-ahead" // it has an index that the log has not got
	LookupGone  Fault = "lookup-gone"  // there is none

	// The same below /sumdb/NAME/ only.
	ProxyLookup Fault = "proxy-lookup" // it has the record of the version before
	ProxyIndex  Fault = "proxy-index"  // it has another index
	ProxyGone   Fault = "proxy-gone"   // there is none

	ListShort   Fault = "list-short"   // lists lack the victim
	ListPlain   Fault = "list-plain"   // they do, but not those under /cached-only/
	ListExtra   Fault = "list-extra"   // the list under /cached-only/ has a version that is not logged
	LatestOther Fault = "latest-other" // the latest version is the victim, which is not

	FeedGap   Fault = "feed-gap"   // no line for the victim
	FeedTwice Fault = "feed-twice" // ten lines are there twice
	FeedPage  Fault = "feed-page"  // each page but the first begins with the end of the one before
	FeedTime  Fault = "feed-time"  // the victim's time is that of the entry before
	FeedOrder Fault = "feed-order" // the victim and the entry after it are swapped
	FeedExtra Fault = "feed-extra" // a line for what is not logged
	FeedShort Fault = "feed-short" // the newest ten lines are not there
	FeedEarly Fault = "feed-early" // the newest entries have times before the publication that they are in

	ZipOther  Fault = "zip-other"  // the victim's zip has other files
	ZipGone   Fault = "zip-gone"   // it is not there
	ModOther  Fault = "mod-other"  // the victim's .mod is not that of the record
	InfoOther Fault = "info-other" // the victim's .info is of another version
	InfoCache Fault = "info-cache" // it is under /cached-only/ only
)

// Faults returns all faults in the order of their names.
func Faults() []Fault {
	all := maps.Clone(faults)
	maps.Copy(all, derivedFaults)
	return slices.Sorted(maps.Keys(all))
}

// Break makes a fault. The default sizes are large enough for all of them but
// FeedPage, which shows beyond 2000 entries.
func (a *Authority) Break(f Fault) {
	do, found := faults[f]
	if !found {
		do, found = derivedFaults[f]
	}
	if !found {
		panic(fmt.Sprintf("unknown fault %q", f))
	}
	do(a)
}

// forkAt is the size from which on a forked history is another one. It is within
// the last tile: the go command, which keeps full tiles, takes a fork of one that it
// has for a broken download.
const forkAt = 560

var faults = map[Fault]func(*Authority){
	Fork:         func(a *Authority) { a.fork() },
	TwoFaced:     func(a *Authority) { a.fork(0) },
	Equivocation: func(a *Authority) { a.Become(a.Fork(a.Published().Size - 1)) },
	Rollback:     func(a *Authority) { a.Show(len(a.Archive()) - 2) },

	ArchiveFork: func(a *Authority) {
		b := a.Fork(200)
		a.Alter(-2, func(p *Publication) { *p = b.archive[len(b.archive)-2] })
	},
	ArchiveTreeHead: func(a *Authority) {
		b := a.Fork(200)
		a.Alter(-2, func(p *Publication) { p.TreeHead = b.archive[len(b.archive)-2].TreeHead })
	},
	ProxyFork: func(a *Authority) {
		b := a.Fork(forkAt)
		b.Grow(10)
		b.Publish()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.proxied = b
	},
	ProxyFrozen: func(a *Authority) {
		archive := a.Archive()
		old := archive[len(archive)-2].TreeHead
		a.onlyCarried(func(a *Authority) {
			a.Tamper(func(p string, _ url.Values, status int, body []byte) (int, []byte) {
				if p == "/latest" {
					body = old
				}
				return status, body
			})
		})
	},
	LookupFork: func(a *Authority) {
		p := a.Published()
		other := a.Fork(p.Size - 2).TreeHead(p.Size).Bytes()
		a.lookupTamper(func(body []byte) []byte { return bytes.Replace(body, p.TreeHead, other, 1) })
	},
	TreeHeadOther: func(a *Authority) {
		b := a.Fork(forkAt)
		a.Alter(-1, func(p *Publication) { p.TreeHead = b.TreeHead(p.Size).Bytes() })
	},
	TreeHeadFork: func(a *Authority) {
		b := a.Fork(forkAt)
		a.Alter(-1, func(p *Publication) { p.TreeHead = b.TreeHead(p.Size - 3).Bytes() })
	},
	ArchiveTime: func(a *Authority) {
		a.Alter(-2, func(p *Publication) { p.Time = p.Time.Add(time.Hour) })
	},
	WitnessRollback: func(a *Authority) {
		last := a.Published()
		a.recosign(-2, last.Time.Add(30*time.Second), 0)
		a.cosignToo(-2, 1, 2)
	},
	StaleCosignatures: func(a *Authority) {
		for n, p := range a.Archive() {
			a.recosign(n, p.Time.Add(-48*time.Hour), 0, 1, 2)
		}
	},
	FutureCosignature: func(a *Authority) {
		a.recosign(-1, a.Published().Time.Add(24*time.Hour), 0, 1)
		a.cosignToo(-1, 2)
	},
	BadCosignature: func(a *Authority) {
		a.Alter(-1, func(p *Publication) {
			note := a.Cosigned(p.Size, p.Time, 0, 1, 2)
			note.Signatures[1].Bytes[20] ^= 1
			p.Checkpoint = note.Bytes()
		})
	},
	TooFew: func(a *Authority) { a.recosign(-1, a.Published().Time, 0) },
	Monitor: func(a *Authority) {
		p := a.Published()
		a.Witness(0).Keep(a.Fork(forkAt).Cosigned(p.Size-1, p.Time, 0))
	},

	Duplicate: func(a *Authority) { a.bad(a.Module(Victim), a.Entry(Victim)) },
	Conflict: func(a *Authority) {
		m := a.Module(Victim)
		m.Salt += " other"
		a.bad(m, m.Record())
	},
	CRLF:         edit("crlf", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }),
	ExtraLine:    edit("extra", func(s string) string { return s + "and a third line\n" }),
	MissingLine:  edit("missing", func(s string) string { return s[:strings.IndexByte(s, '\n')+1] }),
	NoNewline:    edit("newline", func(s string) string { return strings.TrimSuffix(s, "\n") }),
	TwoSpaces:    edit("spaces", func(s string) string { return strings.Replace(s, " ", "  ", 1) }),
	OtherVersion: edit("version", func(s string) string { return strings.Replace(s, "v1.0.0/", "v1.0.1/", 1) }),
	BadHash:      edit("hash", func(s string) string { return strings.Replace(s, " h1:", " h1:AAAA", 1) }),
	Empty:        edit("empty", func(string) string { return "" }),
	OddVersion: func(a *Authority) {
		m := Module{Path: badPath + "version", V: "v1.5"}
		a.bad(m, m.Record())
	},
	ModUnlikeZip: func(a *Authority) {
		m := Module{Path: badPath + "mod", V: "v1.0.0", Mod: "module " + badPath + "mod\n\ngo 1.21\n"}
		a.bad(m, m.Record())
	},

	WrongTile:     flip(false, "/tile/0/000"),
	WrongUpper:    flip(true, "/tile/1/000"),
	WrongDatabase: flip(false, "/tile/8/0/000"),
	WrongPartial: func(a *Authority) {
		archive := a.Archive()
		flip(false, partial(archive[len(archive)-2].Size))(a)
	},
	WrongEdge: func(a *Authority) { flip(false, partial(a.Published().Size))(a) },
	WrongBundle: func(a *Authority) {
		replaceRecord("/tile/entries/000")(a)
		replaceRecord("/tile/8/data/000")(a)
	},
	WrongData: replaceRecord("/tile/8/data/000"),
	ProxyTile: func(a *Authority) { a.onlyCarried(flip(false, "/tile/8/0/000")) },
	ProxyData: func(a *Authority) { a.onlyCarried(replaceRecord("/tile/8/data/000")) },
	BundleGone: func(a *Authority) {
		gone(a, "/tile/entries/000")
		gone(a, "/tile/8/data/000")
	},
}

// onlyCarried makes a fault of answers below /sumdb/NAME/ only.
func (a *Authority) onlyCarried(f func(*Authority)) {
	a.mu.RLock()
	n := len(a.tampers)
	a.mu.RUnlock()
	f(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.carried = append(a.carried, a.tampers[n:]...)
	a.tampers = a.tampers[:n:n]
}

// recosign makes other witnesses cosign publication n, at another time.
func (a *Authority) recosign(n int, t time.Time, witnesses ...int) {
	a.Alter(n, func(p *Publication) { p.Checkpoint = a.Cosigned(p.Size, t, witnesses...).Bytes() })
}

// cosignToo makes further witnesses cosign publication n, at its time.
func (a *Authority) cosignToo(n int, witnesses ...int) {
	a.Alter(n, func(p *Publication) {
		// The signature of the log is there already.
		for _, s := range a.Cosigned(p.Size, p.Time, witnesses...).Signatures[1:] {
			p.Checkpoint = append(p.Checkpoint, s.String()...)
		}
	})
}

// fork goes on with another history that those witnesses cosign.
func (a *Authority) fork(witnesses ...int) {
	b := a.Fork(forkAt, witnesses...)
	b.Grow(10)
	b.Publish()
	a.Become(b)
}

// bad logs and publishes a bad entry, and ten more.
func (a *Authority) bad(m Module, text []byte) {
	a.AddText(m, text)
	a.Grow(10)
	a.Publish()
}

// badPath begins the paths of modules that are there for a fault only.
const badPath = "example.com/bad/"

// edit logs an edited record of a new module.
func edit(name string, change func(string) string) func(*Authority) {
	return func(a *Authority) {
		m := Module{Path: badPath + name, V: "v1.0.0"}
		a.bad(m, []byte(change(string(m.Record()))))
	}
}

// partial is the path of the partial tile at the end of a tree.
func partial(size int64) string { return fmt.Sprintf("/tile/0/%03d.p/%d", size>>8, size&0xff) }

// flip flips a bit of the first hash of a hash tile, in both layouts if path is that
// of C2SP's, and with all at every width.
func flip(all bool, path string) func(*Authority) {
	return func(a *Authority) {
		a.Tamper(func(p string, _ url.Values, status int, body []byte) (int, []byte) {
			if rest, found := strings.CutPrefix(p, "/tile/8/"); found && !strings.HasPrefix(path, "/tile/8/") {
				p = "/tile/" + rest
			}
			if p == path || all && strings.HasPrefix(p, path+".p/") {
				body = bytes.Clone(body)
				body[8] ^= 1
			}
			return status, body
		})
	}
}

// replaceRecord puts the hash of the entry before into the victim's record, in the
// bundle or data tile at path.
func replaceRecord(path string) func(*Authority) {
	return func(a *Authority) {
		m := a.Module(Victim)
		m.Salt += " other"
		from, to := a.Entry(Victim), m.Record()
		a.Tamper(func(p string, _ url.Values, status int, body []byte) (int, []byte) {
			if p == path || strings.HasPrefix(p, path+".p/") {
				body = bytes.Replace(body, from, to, 1)
			}
			return status, body
		})
	}
}

// gone makes all below path absent.
func gone(a *Authority, path string) {
	a.Tamper(func(p string, _ url.Values, status int, body []byte) (int, []byte) {
		if strings.HasPrefix(p, path) {
			return http.StatusNotFound, []byte("not found\n")
		}
		return status, body
	})
}
