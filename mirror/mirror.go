// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package mirror serves modules over HTTP: the GOPROXY protocol
// (https://go.dev/ref/mod#goproxy-protocol) over the log, the store of bytes,
// and the upstreams.
//
//	/MODULE/@v/list           versions, one a line
//	/MODULE/@v/VERSION.info   JSON; VERSION may be a branch or a commit
//	/MODULE/@v/VERSION.mod
//	/MODULE/@v/VERSION.zip
//	/MODULE/@latest           JSON
//	/cached-only/…            the same from log and store alone
//
// and beside it
//
//	/MODULE/@v/VERSION.tlog-proof
//
// A request with the header “Disable-Module-Fetch: true” is answered as under
// /cached-only/.
//
// # Bytes
//
// A .mod or .zip is served only if its version is in the published log, and
// only as the store hands it out, checked against the record. What is not
// logged is admitted first. Such an answer never changes: it says so, and has a
// strong ETag, the SHA-256 of the file. Range and HEAD work.
//
// # Resolution
//
// List, latest and .info say what exists; they admit nothing. They are made
// of what upstream says and of what is logged, so that a logged version stays
// listed and can be served whatever becomes of its origin. When upstream fails
// in any way, and the log knows the module, the log answers. Under
// /cached-only/ they are a function of the log and the store and nothing else.
// Answers that came from upstream, and lists, may be kept for a minute.
//
// Latest is optional in the protocol. Where upstream has none, or one that is
// older than what the list beside it shows, it is what a go command makes of a
// list: see latest.go.
//
// The .info of a logged version is the one that was stored when it was
// admitted. No hash in the log covers it: its Time and Origin are upstream's
// claim.
//
// # Proofs
//
// A .tlog-proof (https://c2sp.org/tlog-proof) shows, offline, to whoever trusts the
// key of the log and its witnesses, that the record of a version is the entry at an
// index of the log, in the tree of the newest published checkpoint. The entry, of
// which the leaf hash is made, are the two lines of go.sum, with their newlines. It is
// made anew at each request, because the checkpoint is; it admits nothing, and is 404
// for what is not logged.
//
// # Errors
//
// 404 means absent, and only that; every error has one status and one short
// text: see [ErrorWriter]. A path that can be no module's is 404 before anybody
// is asked. Who asks for a .mod or a zip waits while its bytes come, all others
// at most 30 seconds.
//
// Nothing here has state of its own, so a crash leaves nothing behind.
package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/index"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/internal/lru"
	"example.org/sumlog/mirror/store"
)

// Log is what is needed of the log.
type Log interface {
	Published() *log.Publication
	Inclusion(i int64, p *log.Publication) ([]tlog.Hash, error)
}

// Names is what is needed of the index.
type Names interface {
	Find(m module.Version) (e log.Entry, found bool, err error)
	Versions(path string, size int64) ([]index.Version, error)
}

// Admission is what is needed of an admit.Service. What does not exist is
// [fs.ErrNotExist].
type Admission interface {
	// Bytes returns when m is published and its k file in the store.
	Bytes(ctx context.Context, m module.Version, k store.Kind) error

	// List, Latest, Info and Mod say what upstream says. With hurry they give
	// up after two seconds.
	List(ctx context.Context, path string, hurry bool) ([]admit.Listed, error)
	Latest(ctx context.Context, path string, hurry bool) ([]byte, error)
	Info(ctx context.Context, path, query string, hurry bool) ([]byte, error)
	Mod(ctx context.Context, m module.Version, hurry bool) ([]byte, error)
}

// Config is what a handler serves from. All is needed.
type Config struct {
	Log       Log
	Names     Names
	Store     *store.Store
	Admission Admission

	// Error answers a request that err stands in the way of: an [ErrorWriter].
	Error func(w http.ResponseWriter, r *http.Request, err error)
}

// A Handler is the HTTP server of a mirror.
type Handler struct {
	c Config

	// served has the stored files that were served, by the path of the request.
	// Entries never change, so such a path stays that of a published version for
	// ever, and is neither parsed nor looked up again: with that, a small zip
	// would cost a third more.
	served *lru.Cache[string, served]
}

// A served file is that of an entry.
type served struct {
	rec  log.Record
	kind store.Kind
}

// maxServed bounds what is remembered of served files, in bytes.
const maxServed = 8 << 20

func servedCost(path string, s served) int {
	return len(path) + len(s.rec.Module.Path) + len(s.rec.Module.Version) + len(s.rec.Zip) + len(s.rec.Mod) + 300
}

// New returns a handler.
func New(c Config) (*Handler, error) {
	if c.Log == nil || c.Names == nil || c.Store == nil || c.Admission == nil || c.Error == nil {
		return nil, errors.New("mirror needs a log, names, a store, admission and an error writer")
	}
	return &Handler{c, lru.New(maxServed, servedCost)}, nil
}

// Values of the Cache-Control header.
const (
	forEver = "public, max-age=31536000, immutable"
	briefly = "public, max-age=60"
	never   = "no-store"
)

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h.again(w, r)
	if errors.Is(err, fs.ErrNotExist) {
		var q request
		if q, err = parse(r); err == nil {
			err = h.serve(w, r, q)
		}
	}
	if err != nil {
		h.c.Error(w, r, err)
	}
}

// again serves a file to a path that got it before. [fs.ErrNotExist] means that
// it did not, or that the file is gone.
func (h *Handler) again(w http.ResponseWriter, r *http.Request) error {
	s, ok := h.served.Get(r.URL.Path)
	if !ok || r.URL.RawPath != "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return fs.ErrNotExist
	}
	return h.stored(w, r, s.rec, s.kind)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, q request) error {
	switch q.what {
	case "list":
		return h.list(w, r, q)
	case "latest":
		return h.latest(w, r, q)
	case "query":
		return h.query(w, r, q)
	case proofKind:
		return h.proof(w, r, q)
	}
	return h.file(w, r, q)
}

// file serves one of the three files of a canonical version.
func (h *Handler) file(w http.ResponseWriter, r *http.Request, q request) error {
	m, k := q.version(), store.Kind(q.what)
	e, found, err := h.find(m)
	if err != nil {
		return err
	}
	if found {
		err := h.stored(w, r, e.Record, k)
		if err == nil && r.URL.RawPath == "" {
			// The memory of the request, of which the path is a part, must not be held.
			h.served.Put(strings.Clone(r.URL.Path), served{e.Record, k})
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if q.cachedOnly {
		return notFound("%s is not in this mirror: temporarily unavailable", m)
	}
	if k == store.Info && !found {
		// Asking what a version is must not admit it.
		return h.query(w, r, q)
	}
	if err := h.c.Admission.Bytes(r.Context(), m, k); err != nil {
		return err
	}
	if e, found, err = h.find(m); err != nil {
		return err
	}
	if found {
		err = h.stored(w, r, e.Record, k)
	}
	if !found || errors.Is(err, fs.ErrNotExist) {
		// Never to be taken for absence.
		return fmt.Errorf("%s was admitted, but its .%s is not here: %v", m, k, err)
	}
	return err
}

// find finds the entry of m if it is published.
func (h *Handler) find(m module.Version) (log.Entry, bool, error) {
	e, found, err := h.c.Names.Find(m)
	if err != nil {
		return log.Entry{}, false, ours("index", err)
	}
	return e, found && e.Index < h.c.Log.Published().Size, nil
}

// stored serves a file of the store. The file goes to ServeContent as it is,
// so that the kernel can send it.
func (h *Handler) stored(w http.ResponseWriter, r *http.Request, rec log.Record, k store.Kind) error {
	f, meta, err := h.c.Store.Open(r.Context(), rec, k)
	if err != nil {
		return err
	}
	defer f.Close()
	header(w, contentType[k], forEver, meta.ETag)
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

var contentType = map[store.Kind]string{
	store.Info: "application/json",
	store.Mod:  "text/plain; charset=utf-8",
	store.Zip:  "application/zip",
}

func header(w http.ResponseWriter, contentType, cache, etag string) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Cache-Control"] = []string{cache}
	h["Etag"] = []string{etag}
	h["X-Content-Type-Options"] = []string{"nosniff"}
}

// resolved serves a short answer that may be another in a while.
func resolved(w http.ResponseWriter, r *http.Request, contentType string, body string) {
	sum := sha256.Sum256([]byte(body))
	header(w, contentType, briefly, `"`+hex.EncodeToString(sum[:])+`"`)
	w.Header().Set("Vary", "Disable-Module-Fetch")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
}

// query serves what upstream says a version, branch or commit is.
func (h *Handler) query(w http.ResponseWriter, r *http.Request, q request) error {
	if q.cachedOnly {
		return notFound("%s is not in this mirror: temporarily unavailable", q.version())
	}
	data, err := h.c.Admission.Info(r.Context(), q.path, q.query, false)
	if err != nil {
		return err
	}
	resolved(w, r, contentType[store.Info], string(data))
	return nil
}

// logged returns the versions of the module path in the published log.
func (h *Handler) logged(path string) ([]index.Version, error) {
	vs, err := h.c.Names.Versions(path, h.c.Log.Published().Size)
	if err != nil {
		return nil, ours("index", err)
	}
	return vs, nil
}

// list serves the union of what upstream lists and what is logged.
func (h *Handler) list(w http.ResponseWriter, r *http.Request, q request) error {
	logged, err := h.logged(q.path)
	if err != nil {
		return err
	}
	var listed []admit.Listed
	if q.cachedOnly {
		err = notFound("%s is not in this mirror: temporarily unavailable", q.path)
	} else {
		listed, err = h.c.Admission.List(r.Context(), q.path, len(logged) > 0)
	}
	if err != nil && len(logged) == 0 {
		return err
	}
	var b strings.Builder
	for _, v := range h.known(q.path, listed, logged, err) {
		if !module.IsPseudoVersion(v.Version) {
			b.WriteString(v.Version)
			b.WriteByte('\n')
		}
	}
	resolved(w, r, "text/plain; charset=utf-8", b.String())
	return nil
}

// known returns all versions that are listed or logged, sorted. With a list of
// upstream's that lacks a logged version, that counts only if its .info is stored: of
// versions that others only require, a module cache has neither, and a go command
// that finds the version here can do nothing with it.
func (h *Handler) known(path string, listed []admit.Listed, logged []index.Version, listErr error) []admit.Listed {
	all := slices.Clone(listed)
	counts := func(string) bool { return true }
	if listErr == nil {
		counts = h.c.Store.Infos(path)
	}
	for _, v := range logged {
		if counts(v.Version) {
			all = append(all, admit.Listed{Version: v.Version, Time: pseudoTime(v.Version)})
		}
	}
	slices.SortStableFunc(all, func(a, b admit.Listed) int { return semver.Compare(a.Version, b.Version) })
	// Of two the first stays, which the list names.
	return slices.CompactFunc(all, func(a, b admit.Listed) bool { return a.Version == b.Version })
}
