// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package mirrortest has the other ends of the mirror for its tests: modules,
// an upstream, a checksum database, and a log with its index, all in memory.
package mirrortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/mod/zip"

	"example.org/sumlog/index"
	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/upstream"
)

// A Module is a module version with its three files.
type Module struct {
	module.Version
	Info, Mod, Zip []byte
}

// New makes m@v of files, pairs of a name and a content. Without a go.mod among
// them it has the made-up one.
func New(t testing.TB, path, version string, files ...string) Module {
	t.Helper()
	m := Module{Version: module.Version{Path: path, Version: version}}
	m.Info = fmt.Appendf(nil, `{"Version":%q,"Time":"2024-05-06T07:08:09Z","Origin":{"VCS":"git"}}`, version)
	m.Mod = fmt.Appendf(nil, "module %s\n", path)
	var list []zip.File
	for i := 0; i < len(files); i += 2 {
		list = append(list, memFile{files[i], files[i+1]})
		if files[i] == "go.mod" {
			m.Mod = []byte(files[i+1])
		}
	}
	var b bytes.Buffer
	if err := zip.Create(&b, m.Version, list); err != nil {
		t.Fatal(err)
	}
	m.Zip = b.Bytes()
	return m
}

// Simple makes m@v with a go.mod and one source file.
func Simple(t testing.TB, path, version string) Module {
	t.Helper()
	return New(t, path, version, "go.mod", "module "+path+"\n\ngo 1.20\n", "x.go", "package x // "+version+"\n")
}

// Record returns the record of m, computed by x/mod.
func (m Module) Record(t testing.TB) log.Record {
	t.Helper()
	name := t.TempDir() + "/zip"
	if err := os.WriteFile(name, m.Zip, 0o600); err != nil {
		t.Fatal(err)
	}
	z, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	g, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(m.Mod)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return log.Record{Module: m.Version, Zip: z, Mod: g}
}

type memFile struct{ name, data string }

func (f memFile) Path() string                 { return f.name }
func (f memFile) Lstat() (fs.FileInfo, error)  { return memInfo(f), nil }
func (f memFile) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(f.data)), nil }

type memInfo memFile

func (f memInfo) Name() string       { return f.name }
func (f memInfo) Size() int64        { return int64(len(f.data)) }
func (f memInfo) Mode() fs.FileMode  { return 0o644 }
func (f memInfo) ModTime() time.Time { return time.Time{} }
func (f memInfo) IsDir() bool        { return false }
func (f memInfo) Sys() any           { return nil }

// An Upstream is a chain of one source: itself.
type Upstream struct {
	mu     sync.Mutex
	files  map[string][]byte
	errs   map[string]error // by suffix of the name
	gates  map[string]chan struct{}
	counts map[string]int
	hung   int // that wait at a gate
}

func (u *Upstream) init() {
	if u.files == nil {
		u.files, u.errs = map[string][]byte{}, map[string]error{}
		u.gates, u.counts = map[string]chan struct{}{}, map[string]int{}
	}
}

// Name returns the name of a file of m.
func Name(m module.Version, ext string) string {
	p, err1 := module.EscapePath(m.Path)
	v, err2 := module.EscapeVersion(m.Version)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	return p + "/@v/" + v + "." + ext
}

// Add makes the upstream have m, in its list too.
func (u *Upstream) Add(m Module) {
	u.Set(Name(m.Version, "info"), m.Info)
	u.Set(Name(m.Version, "mod"), m.Mod)
	u.Set(Name(m.Version, "zip"), m.Zip)
	list := Name(m.Version, "")
	list = list[:strings.Index(list, "/@v/")] + "/@v/list"
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files[list] = append(slices.Clone(u.files[list]), m.Version.Version+"\n"...)
}

// Set sets a file; nil removes it.
func (u *Upstream) Set(name string, data []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.init()
	if data == nil {
		delete(u.files, name)
		return
	}
	u.files[name] = data
}

// Fail makes names that end in suffix fail with err; nil ends that.
func (u *Upstream) Fail(suffix string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.init()
	if err == nil {
		delete(u.errs, suffix)
		return
	}
	u.errs[suffix] = err
}

// Hang makes names that end in suffix wait until the returned function is
// called.
func (u *Upstream) Hang(suffix string) (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.init()
	gate := make(chan struct{})
	u.gates[suffix] = gate
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.gates, suffix)
		close(gate)
	})
}

// Counts returns how often each name was asked for.
func (u *Upstream) Counts() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.counts)
}

// Total returns how often anything was asked for.
func (u *Upstream) Total() int {
	n := 0
	for _, c := range u.Counts() {
		n += c
	}
	return n
}

func (u *Upstream) hangs(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hung += n
}

// Hung returns how many that were asked for hang.
func (u *Upstream) Hung() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hung
}

func (u *Upstream) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	u.mu.Lock()
	u.init()
	u.counts[name]++
	var gate chan struct{}
	for suffix, g := range u.gates {
		if strings.HasSuffix(name, suffix) {
			gate = g
		}
	}
	u.mu.Unlock()
	if gate != nil {
		u.hangs(1)
		defer u.hangs(-1)
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, &upstream.Error{URL: "mem/" + name, Err: ctx.Err()}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for suffix, err := range u.errs {
		if strings.HasSuffix(name, suffix) {
			return nil, err
		}
	}
	data, ok := u.files[name]
	if !ok {
		return nil, &upstream.Error{URL: "mem/" + name, Status: 404, Text: "not found: " + name}
	}
	if int64(len(data)) > limit {
		return nil, &upstream.Error{URL: "mem/" + name, Err: upstream.ErrTooLarge}
	}
	return data, nil
}

func (u *Upstream) download(ctx context.Context, name string, f upstream.File, limit int64) error {
	data, err := u.get(ctx, name, limit)
	if err == nil {
		_, err = f.Write(data)
	}
	return err
}

// Chain returns the upstream as a chain.
func (u *Upstream) Chain() admit.Chain { return chain{u} }

type chain struct{ u *Upstream }
type source struct{ u *Upstream }

func (c chain) Get(ctx context.Context, name string, limit int64) ([]byte, admit.Source, error) {
	data, err := c.u.get(ctx, name, limit)
	return data, source(c), err
}

func (c chain) After(admit.Source) admit.Chain  { return chain{new(Upstream)} }
func (c chain) Before(admit.Source) admit.Chain { return chain{new(Upstream)} }

func (c chain) Download(ctx context.Context, name string, f upstream.File, limit int64) (admit.Source, error) {
	return source(c), c.u.download(ctx, name, f, limit)
}

func (s source) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	return s.u.get(ctx, name, limit)
}

func (s source) Download(ctx context.Context, name string, f upstream.File, limit int64) error {
	return s.u.download(ctx, name, f, limit)
}

func (s source) String() string { return "mem" }

// A Router sends the paths that begin with private.example to Private.
type Router struct{ Public, Private *Upstream }

func (r *Router) For(path string) (admit.Chain, bool, error) {
	if strings.HasPrefix(path, "private.example") {
		return r.Private.Chain(), true, nil
	}
	if strings.HasPrefix(path, "10.") {
		return nil, false, fmt.Errorf("%w: %q is no public host", upstream.ErrNotModule, path)
	}
	return r.Public.Chain(), false, nil
}

// A Database proves what is in it.
type Database struct {
	mu      sync.Mutex
	records map[module.Version]log.Record
	err     error
	Asked   int
}

// Add makes the database have r.
func (d *Database) Add(r log.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		d.records = make(map[module.Version]log.Record)
	}
	d.records[r.Module] = r
}

// Fail makes it fail with err.
func (d *Database) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *Database) Record(ctx context.Context, m module.Version) (log.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Asked++
	if d.err != nil {
		return log.Record{}, d.err
	}
	r, ok := d.records[m]
	if !ok {
		return log.Record{}, &upstream.Error{URL: "db", Status: 404, Text: "not found: " + m.String()}
	}
	return r, nil
}

// A Log is a log and its index.
type Log struct {
	mu        sync.Mutex
	entries   []log.Entry
	hashes    hashes
	published log.Publication // of entries; its checkpoint is signed
	err       error           // of Append
	refuses   error           // of Admits
}

// key signs all logs.
var key, vkey = func() (note.Signer, string) {
	skey, vkey, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		panic(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		panic(err)
	}
	return s, vkey
}()

// VKey returns the verifier key of checkpoints.
func (l *Log) VKey() string { return vkey }

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, h[i])
	}
	return out, nil
}

// publish makes what was appended the newest publication.
func (l *Log) publish() error {
	n := int64(len(l.entries))
	added, err := tlog.StoredHashes(n-1, l.entries[n-1].Record.Text(), l.hashes)
	if err != nil {
		return err
	}
	l.hashes = append(l.hashes, added...)
	root, err := tlog.TreeHash(n, l.hashes)
	if err != nil {
		return err
	}
	text := checkpoint.Checkpoint{Origin: key.Name(), Size: n, Root: root}.Text()
	msg, err := note.Sign(&note.Note{Text: text}, key)
	l.published = log.Publication{Size: n, Root: root, Checkpoint: msg}
	return err
}

// Inclusion proves entry i in the tree of p.
func (l *Log) Inclusion(i int64, p *log.Publication) ([]tlog.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tlog.ProveRecord(p.Size, i, l.hashes)
}

// Fail makes appends fail with err.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Refuse lets the log refuse new records with err.
func (l *Log) Refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuses = err
}

func (l *Log) Admits() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuses
}

func (l *Log) Append(ctx context.Context, r log.Record) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	for _, e := range l.entries {
		if e.Record == r {
			return e.Index, nil
		}
		if e.Record.Module == r.Module {
			return 0, &log.ConflictError{Have: e.Record, Got: r}
		}
	}
	i := int64(len(l.entries))
	l.entries = append(l.entries, log.Entry{Index: i, Record: r, Time: time.Date(2025, 1, 2, 3, 4, 5, int(i)*1000, time.UTC)})
	return i, l.publish()
}

func (l *Log) Published() *log.Publication {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.published
	return &p
}

func (l *Log) Find(m module.Version) (log.Entry, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Record.Module == m {
			return e, true, nil
		}
	}
	return log.Entry{}, false, nil
}

func (l *Log) Versions(path string, size int64) ([]index.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var vs []index.Version
	for _, e := range l.entries[:size] {
		if e.Record.Module.Path == path {
			vs = append(vs, index.Version{Version: e.Record.Module.Version, Index: e.Index, Time: e.Time})
		}
	}
	return vs, nil
}

// Entries returns all entries.
func (l *Log) Entries() []log.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}
