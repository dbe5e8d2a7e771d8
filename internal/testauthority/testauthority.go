// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package testauthority is a whole checksum authority in memory, for tests: a log,
// its witnesses, and the index and mirror derived from it, which serve what sumlog
// serves, and which lie on demand.
//
//	a := testauthority.New(testauthority.Config{})
//	s := httptest.NewServer(a)
//	defer s.Close()
//	a.Break(testauthority.ShortList)
//
// # What it serves
//
//	/checkpoint  /tile/L/N[.p/W]  /tile/entries/N[.p/W]  (https://c2sp.org/tlog-tiles)
//	/latest  /tile/8/L/N[.p/W]  /tile/8/data/N[.p/W]  /lookup/M@V  (the go command's layout)
//	/sumdb/NAME/supported, and all of the go command's layout below /sumdb/NAME/
//	/checkpoints?after=SIZE&limit=N  the archive
//	/index?since=&after=&limit=      the feed
//	/M/@v/list, .info, .mod, .zip, /M/@latest, and the same below /cached-only/
//	/witness/N/HASH/checkpoint       what witness N has cosigned last (tlog-witness)
//
// Nothing in it is random: the same Config makes the same keys, modules and
// histories, and with the same clock the same notes. All keys are known to
// everybody who can read this package.
//
// # Lies
//
// [Authority.Break] makes one of the faults listed with [Fault]. What a fault does
// to the log itself it does properly: tiles, notes, feed and mirror then agree with
// the history that they are made from, so that one thing is wrong and no other.
// [Authority.Tamper] changes answers in any other way.
package testauthority

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// A Config says what an authority is like in the beginning.
type Config struct {
	Name      string           // of the log and its key; default sum.example.com/test
	Sizes     []int64          // sizes published; default 5, 256, 300 and 600
	Witnesses int              // that cosign each checkpoint; default 3, -1: none
	Now       func() time.Time // default time.Now

	// Salt makes other modules: the same names, and other contents.
	Salt string
}

// An Authority is an http.Handler. It is safe for concurrent use.
type Authority struct {
	config Config
	key    *checkpoint.Key
	secret ed25519.PrivateKey

	mu        sync.RWMutex
	entries   []entry
	hashes    hashes
	byName    map[string][]int64 // the entries of a module path
	archive   []Publication
	shown     int // of archive, what /checkpoint and /latest serve
	witnesses []*Witness
	signers   []int // which of them cosign
	origins   map[module.Version]Origin
	tampers   []Tamper
	carried   []Tamper                      // of what is below /sumdb/NAME/ only
	feeds     []func([]feedItem) []feedItem // change the feed
	pageBack  int                           // lines that pages of the feed begin too early
	proxied   *Authority                    // what is below /sumdb/NAME/, if not a
}

// An entry is one of the log, and the module that it is of; of a bad entry, the one
// that it pretends to be of.
type entry struct {
	text []byte
	mod  Module
}

// A Publication is a line of the archive.
type Publication struct {
	Time       time.Time
	Size       int64
	Checkpoint []byte
	TreeHead   []byte
}

// New returns an authority that has published the sizes that c wants, a minute
// apart, the last one a minute ago.
func New(c Config) *Authority {
	if c.Name == "" {
		c.Name = "sum.example.com/test"
	}
	if c.Sizes == nil {
		c.Sizes = []int64{5, 256, 300, 600}
	}
	if c.Witnesses == 0 {
		c.Witnesses = 3
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	a := &Authority{config: c, byName: map[string][]int64{}, origins: map[module.Version]Origin{}}
	a.key, a.secret = newKey(c.Name, checkpoint.Ed25519)
	for i := range c.Witnesses {
		a.witnesses = append(a.witnesses, newWitness(fmt.Sprintf("w%d.%s", i+1, c.Name)))
		a.signers = append(a.signers, i)
	}
	for i, size := range c.Sizes {
		a.Grow(size - int64(len(a.entries)))
		a.publish(c.Now().Add(time.Duration(i-len(c.Sizes)) * time.Minute))
	}
	return a
}

// newKey returns the key of a name, which is no secret.
func newKey(name string, alg checkpoint.Algorithm) (*checkpoint.Key, ed25519.PrivateKey) {
	seed := sha256.Sum256([]byte("testauthority " + name))
	secret := ed25519.NewKeyFromSeed(seed[:])
	key, err := checkpoint.NewKey(name, alg, secret.Public().(ed25519.PublicKey))
	must(err)
	return key, secret
}

// must ends a test that asks for what there cannot be.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Name returns the name of the log.
func (a *Authority) Name() string { return a.config.Name }

// Key returns the key of the log.
func (a *Authority) Key() *checkpoint.Key { return a.key }

// VKey returns the key of the log as flags want it.
func (a *Authority) VKey() string { return a.key.String() }

// Policy returns a tlog-policy: the log, and k of its witnesses. A url that is not
// empty is that of the authority.
func (a *Authority) Policy(k int, url string) string {
	var b strings.Builder
	fmt.Fprintln(&b, strings.TrimSpace("log "+a.VKey()+" "+url))
	names := ""
	for i, w := range a.witnesses {
		fmt.Fprintf(&b, "witness w%d %s\n", i+1, w.Key())
		names += fmt.Sprintf(" w%d", i+1)
	}
	if k == 0 {
		fmt.Fprintln(&b, "quorum none")
	} else {
		fmt.Fprintf(&b, "group g %d%s\nquorum g\n", k, names)
	}
	return b.String()
}

// Size returns the number of entries, published or not.
func (a *Authority) Size() int64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return int64(len(a.entries))
}

// Published returns the publication that is shown as the newest.
func (a *Authority) Published() Publication {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.archive[a.shown]
}

// Archive returns all publications.
func (a *Authority) Archive() []Publication {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return append([]Publication(nil), a.archive...)
}

// Entry returns the text of entry i.
func (a *Authority) Entry(i int64) []byte {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.entries[i].text
}

// Module returns the module of entry i.
func (a *Authority) Module(i int64) Module {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.entries[i].mod
}

// Grow appends n more modules, which are not published yet.
func (a *Authority) Grow(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range n {
		a.add(generate(len(a.entries), a.config.Salt))
	}
}

// Add appends the record of a module.
func (a *Authority) Add(m Module) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.add(m)
}

// AddText appends any text, which is said to be the record of m.
func (a *Authority) AddText(m Module, text []byte) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addText(m, text)
}

func (a *Authority) add(m Module) int64 { return a.addText(m, m.Record()) }

func (a *Authority) addText(m Module, text []byte) int64 {
	n := int64(len(a.entries))
	stored, err := tlog.StoredHashes(n, text, a.hashes)
	must(err)
	a.hashes = append(a.hashes, stored...)
	a.entries = append(a.entries, entry{text, m})
	a.byName[m.Path] = append(a.byName[m.Path], n)
	return n
}

// Publish publishes all entries, and shows that.
func (a *Authority) Publish() Publication {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.publish(a.config.Now())
}

// publish publishes all entries at t, or a microsecond after the publication
// before, if that is later.
func (a *Authority) publish(t time.Time) Publication {
	t = t.UTC().Truncate(time.Microsecond)
	if n := len(a.archive); n > 0 {
		if least := a.archive[n-1].Time.Add(time.Microsecond); t.Before(least) {
			t = least
		}
	}
	size := int64(len(a.entries))
	cp := a.checkpoint(size)
	note := a.sign(cp.Text())
	for _, i := range a.signers {
		w := a.witnesses[i]
		note.Signatures = append(note.Signatures, w.cosign(cp, t))
		w.keep(cp, note)
	}
	a.archive = append(a.archive, Publication{t, size, note.Bytes(), a.treeHead(size).Bytes()})
	a.shown = len(a.archive) - 1
	return a.archive[a.shown]
}

// hashes are the stored hashes of a tree in the order of package tlog.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(h)) {
			return nil, fmt.Errorf("no stored hash %d", x)
		}
		list[i] = h[x]
	}
	return list, nil
}

func (a *Authority) root(size int64) tlog.Hash {
	h, err := tlog.TreeHash(size, a.hashes)
	must(err)
	return h
}

func (a *Authority) checkpoint(size int64) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Origin: a.config.Name, Size: size, Root: a.root(size)}
}

func (a *Authority) treeHead(size int64) checkpoint.Note {
	return a.sign(string(tlog.FormatTree(tlog.Tree{N: size, Hash: a.root(size)})))
}

func (a *Authority) sign(text string) checkpoint.Note {
	return checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{
		{Name: a.key.Name(), ID: a.key.ID(), Bytes: ed25519.Sign(a.secret, []byte(text))}}}
}

// Tree returns the tree of the first size entries.
func (a *Authority) Tree(size int64) tlog.Tree {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return tlog.Tree{N: size, Hash: a.root(size)}
}

// Checkpoint returns the checkpoint of a size, signed by the log alone.
func (a *Authority) Checkpoint(size int64) checkpoint.Note {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.sign(a.checkpoint(size).Text())
}

// TreeHead returns the tree head of a size.
func (a *Authority) TreeHead(size int64) checkpoint.Note {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.treeHead(size)
}

// Sign signs any text with the key of the log.
func (a *Authority) Sign(text string) checkpoint.Note { return a.sign(text) }

// Inclusion returns the inclusion proof of entry i in the tree of a size.
func (a *Authority) Inclusion(i, size int64) []tlog.Hash {
	a.mu.RLock()
	defer a.mu.RUnlock()
	p, err := tlog.ProveRecord(size, i, a.hashes)
	must(err)
	return p
}

// Consistency returns the consistency proof between two sizes.
func (a *Authority) Consistency(old, size int64) []tlog.Hash {
	if old == size {
		return nil
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	p, err := tlog.ProveTree(size, old, a.hashes)
	must(err)
	return p
}

// A Tamper changes an answer: it returns the status and body that are sent instead.
// The path is that of the request without /sumdb/NAME.
type Tamper func(path string, query url.Values, status int, body []byte) (int, []byte)

// Tamper changes all answers from now on, after those who did before.
func (a *Authority) Tamper(t Tamper) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tampers = append(a.tampers, t)
}

// Mend ends all that Tamper began. What was signed stays signed.
func (a *Authority) Mend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tampers, a.carried, a.feeds, a.pageBack, a.proxied = nil, nil, nil, 0, nil
}
