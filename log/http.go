// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.org/sumlog/internal/descriptors"
)

// MaxPage is the largest number of publications in one answer of /checkpoints.
const MaxPage = 1000

const (
	typeText   = "text/plain; charset=utf-8"
	typeBinary = "application/octet-stream"
	typeLines  = "application/x-ndjson"

	cacheHead    = "no-cache"
	cacheForever = "public, max-age=31536000, immutable"
)

// ServeHTTP serves the tree in both layouts:
//
//	/checkpoint                      the newest checkpoint
//	/tile/L/N[.p/W]                  hash tiles (https://c2sp.org/tlog-tiles)
//	/tile/entries/N[.p/W]            bundles
//	/latest                          the newest tree head
//	/tile/8/L/N[.p/W]                the same hash tiles (golang.org/x/mod/sumdb)
//	/tile/8/data/N[.p/W]             records, each followed by an empty line
//	/checkpoints?after=SIZE&limit=N  the archive: publications larger than SIZE
//	                                 (-1: all, the default), at most N (1 to 1000)
//
// With auditors there are, beside them:
//
//	/checkpoint/audited              the largest checkpoint that an auditor has
//	                                 cosigned, with all cosignatures; 404 until
//	                                 there is one
//	POST /audited/add-checkpoint     takes such a cosignature: the submission of
//	                                 https://c2sp.org/tlog-witness, with the
//	                                 auditor's cosignature on the checkpoint, and
//	                                 an empty answer
//
// Nothing beyond the published size exists: it is 404. A partial tile is
// served at every width up to the published one.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/audited/add-checkpoint":
		l.serveSubmission(w, r)
	case r.URL.Path == "/checkpoint/audited" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		l.serveAudited(w, r)
	default:
		l.Reader.ServeHTTP(w, r)
	}
}

// ServeHTTP serves what a [Log] does, but for what is about auditors: that is 404.
func (l *Reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		httpError(w, http.StatusMethodNotAllowed, "only GET and HEAD are served here")
		return
	}
	switch path := r.URL.Path; path {
	case "/checkpoint":
		writeBytes(w, r, typeText, cacheHead, l.Published().Checkpoint)
	case "/checkpoint/audited", "/audited/add-checkpoint":
		httpError(w, http.StatusNotFound, "this server is read-only and knows no auditors")
	case "/latest":
		writeBytes(w, r, typeText, cacheHead, l.Published().TreeHead)
	case "/checkpoints":
		l.serveArchive(w, r)
	default:
		l.serveTile(w, r, path)
	}
}

func httpError(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", typeText)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

func writeBytes(w http.ResponseWriter, r *http.Request, contentType, cache string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", cache)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method != http.MethodHead {
		w.Write(data)
	}
}

// unread answers for what is there and could not be read: 503 if that passes.
func (l *Reader) unread(w http.ResponseWriter, what string, err error) {
	l.logger.Error("could not be read", "what", what, "err", err)
	if descriptors.Short(err) {
		w.Header().Set("Retry-After", "5")
		httpError(w, http.StatusServiceUnavailable, what+" could not be read, the server is short of files or memory")
		return
	}
	httpError(w, http.StatusInternalServerError, what+" could not be read")
}

// serveArchive copies lines of the archive, which is in the form served.
func (l *Reader) serveArchive(w http.ResponseWriter, r *http.Request) {
	after, limit := int64(-1), int64(MaxPage)
	for name, v := range map[string]*int64{"after": &after, "limit": &limit} {
		s := r.URL.Query().Get(name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			httpError(w, http.StatusBadRequest, name+" is not a number")
			return
		}
		*v = n
	}
	if after < -1 || limit < 1 {
		httpError(w, http.StatusBadRequest, "after is at least -1, limit at least 1")
		return
	}
	w.Header().Set("Content-Type", typeLines)
	w.Header().Set("Cache-Control", cacheHead)
	if r.Method == http.MethodHead {
		return
	}
	page := min(limit, MaxPage)
	left := page
	for line, err := range l.archived.Load().lines(after, l.shown.Load()) {
		if err != nil && left == page {
			l.unread(w, "the archive", err)
			return
		}
		if err != nil {
			// Bytes may be on their way, and a page that just ends would read
			// as the end of the archive.
			l.logger.Error("archive", "err", err)
			panic(http.ErrAbortHandler)
		}
		if _, err := w.Write(line); err != nil {
			return
		}
		if left--; left == 0 {
			return
		}
	}
}

// A tileID names what one URL of /tile/ asks for.
type tileID struct {
	kind  tileKind
	level int
	n     int64
	w     int // the width asked
}

type tileKind byte

const (
	kindHash   tileKind = 'h' // hashes, the same bytes in both layouts
	kindBundle tileKind = 'e' // entries with their lengths
	kindData   tileKind = 'd' // records with empty lines
)

// errNotTile reports a path that is not one of a tile.
var errNotTile = errors.New("malformed tile path")

// parseTilePath parses the path of a tile of either layout. Both use the same
// encoding of N; the go command's has one more element in front.
func parseTilePath(path string) (tileID, error) {
	if len(path) > 100 {
		return tileID{}, errNotTile
	}
	if rest, ok := strings.CutPrefix(path, "/tile/8/data/"); ok {
		return parseTileNumber(kindData, 0, rest)
	}
	if rest, ok := strings.CutPrefix(path, "/tile/entries/"); ok {
		return parseTileNumber(kindBundle, 0, rest)
	}
	rest, ok := strings.CutPrefix(path, "/tile/")
	if !ok {
		return tileID{}, errNotTile
	}
	// In C2SP's layout N follows the level at once; a second plain number in
	// front of it means that the first was the go command's tile height.
	if inner, ok := strings.CutPrefix(rest, "8/"); ok {
		if level, number, ok := cutLevel(inner); ok {
			return parseTileNumber(kindHash, level, number)
		}
	}
	level, number, ok := cutLevel(rest)
	if !ok {
		return tileID{}, errNotTile
	}
	return parseTileNumber(kindHash, level, number)
}

// cutLevel cuts a level, 0 to 63 in canonical decimal, from the front of a path.
func cutLevel(path string) (level int, rest string, ok bool) {
	first, rest, ok := strings.Cut(path, "/")
	level, err := strconv.Atoi(first)
	if !ok || err != nil || level < 0 || level > 63 || strconv.Itoa(level) != first {
		return 0, "", false
	}
	return level, rest, true
}

// parseTileNumber parses N[.p/W], N in groups of three digits.
func parseTileNumber(kind tileKind, level int, s string) (tileID, error) {
	id := tileID{kind: kind, level: level, w: tileWidth}
	if number, width, ok := strings.Cut(s, ".p/"); ok {
		w, err := strconv.Atoi(width)
		if err != nil || w < 1 || w >= tileWidth || strconv.Itoa(w) != width {
			return tileID{}, errNotTile
		}
		s, id.w = number, w
	}
	groups := strings.Split(s, "/")
	for i, g := range groups {
		if i < len(groups)-1 {
			var ok bool
			if g, ok = strings.CutPrefix(g, "x"); !ok || i == 0 && g == "000" {
				return tileID{}, errNotTile
			}
		}
		if len(g) != 3 || !isDigits(g) || id.n > (math.MaxInt64-999)/1000 {
			return tileID{}, errNotTile
		}
		d, _ := strconv.Atoi(g)
		id.n = id.n*1000 + int64(d)
	}
	return id, nil
}

// CachedTiles is how many full hash tiles are kept in memory: of 8 KiB each,
// 16 MiB at most.
const CachedTiles = 2048

// tileCache keeps full hash tiles.
type tileCache = lru.Cache[tileID, []byte]

func newTileCache() *tileCache {
	c, err := lru.New[tileID, []byte](CachedTiles)
	if err != nil {
		panic(err) // only a size below 1
	}
	return c
}

func (l *Reader) serveTile(w http.ResponseWriter, r *http.Request, path string) {
	id, err := parseTilePath(path)
	if err != nil {
		httpError(w, http.StatusBadRequest, errNotTile.Error())
		return
	}
	// Clamp: what lies beyond the published size can still change.
	size := l.Published().Size
	if id.w > width(id.level, id.n, size) {
		httpError(w, http.StatusNotFound, "no such tile: the log is not that large yet")
		return
	}
	etag := l.etag(id)
	h := w.Header()
	h.Set("Etag", etag)
	if match := r.Header.Get("If-None-Match"); match != "" && etagMatches(match, etag) {
		h.Set("Cache-Control", cacheForever)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	data, err := l.tileData(id, size)
	if err != nil {
		h.Del("Etag")
		l.unread(w, "the tile", err)
		return
	}
	contentType := typeBinary
	if id.kind == kindData {
		contentType = typeText
	}
	writeBytes(w, r, contentType, cacheForever, data)
}

// etag is strong: for one key, the bytes of a tile at one width never change.
func (l *Reader) etag(id tileID) string {
	b := make([]byte, 0, 48)
	b = append(b, '"')
	b = strconv.AppendUint(b, uint64(l.id.verifier.KeyHash()), 16)
	b = append(b, '-', byte(id.kind))
	for _, n := range [...]int64{int64(id.level), id.n, int64(id.w)} {
		b = append(b, '-')
		b = strconv.AppendInt(b, n, 10)
	}
	return string(append(b, '"'))
}

func etagMatches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// tileData returns the first w items of a tile of the tree at size.
func (l *Reader) tileData(id tileID, size int64) ([]byte, error) {
	switch id.kind {
	case kindBundle:
		return l.tree.bundle(id.n, id.w, size)
	case kindData:
		bundle, err := l.tree.bundle(id.n, id.w, size)
		if err != nil {
			return nil, err
		}
		return dataTile(bundle)
	}
	if id.w < tileWidth {
		return l.tree.hashTile(id.level, id.n, id.w, size)
	}
	if data, ok := l.tiles.Get(id); ok {
		return data, nil
	}
	data, err := l.tree.hashTile(id.level, id.n, id.w, size)
	if err == nil {
		l.tiles.Add(id, data)
	}
	return data, err
}

// dataTile turns a bundle into the go command's form: each record followed by
// an empty line.
func dataTile(bundle []byte) ([]byte, error) {
	data := make([]byte, 0, len(bundle))
	err := bundleEntries(bundle, func(text []byte) error {
		data = append(data, text...)
		data = append(data, '\n')
		return nil
	})
	return data, err
}
