// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/tlog"
)

// A fake is a witness that keeps all rules but, where wrong is the name of one,
// that one. As "ed25519" and "no-monitor" it does not do what is optional.
type fake struct {
	wrong  string
	log    *LogKey
	ed, ml *checkpoint.Cosigner
	url    string

	mu      sync.Mutex
	st      state
	disk    state // what a restart finds
	before  state // what was shown before the newest
	late    *state
	cached  map[string][]byte
	updates int
	racing  bool // the wrong ones do their wrong now
	checked int  // updates that were checked and then wait

	port *os.File
	srv  *http.Server
	done chan struct{}
}

type state struct {
	known bool
	cp    checkpoint.Checkpoint
	note  checkpoint.Note // of the log
	lines []byte          // the cosignatures
}

func testKey(t testing.TB) *LogKey {
	t.Helper()
	seed := sha256.Sum256([]byte(t.Name()))
	k, err := newLogKey("log.example/conformance", seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newFake(t testing.TB, wrong string) *fake {
	t.Helper()
	w := &fake{wrong: wrong, log: testKey(t), cached: make(map[string][]byte)}
	seed := sha256.Sum256([]byte("witness"))
	var err error
	if w.ed, err = checkpoint.NewCosigner("witness.example/w", ed25519.NewKeyFromSeed(seed[:])); err != nil {
		t.Fatal(err)
	}
	private, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	if w.ml, err = checkpoint.NewCosigner("witness.example/w", private); err != nil {
		t.Fatal(err)
	}
	w.listen(t)
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.stop)
	return w
}

// listen takes a port that stays the witness's while it is restarted.
func (w *fake) listen(t testing.TB) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.url = "http://" + l.Addr().String()
	if w.port, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.port.Close() })
}

func (w *fake) start() error {
	l, err := net.FileListener(w.port)
	if err != nil {
		return err
	}
	srv, done := &http.Server{Handler: w}, make(chan struct{})
	w.srv, w.done = srv, done
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	return nil
}

func (w *fake) stop() {
	w.srv.Close()
	<-w.done
}

func (w *fake) keys() []*checkpoint.Key {
	if w.wrong == "ed25519" {
		return []*checkpoint.Key{w.ed.Key()}
	}
	return []*checkpoint.Key{w.ed.Key(), w.ml.Key()}
}

// config is the configuration with which no case is skipped.
func (w *fake) config(t testing.TB) Config {
	return Config{
		URL: w.url, LogKey: w.log, Witness: w.keys(),
		MonitorDelay: time.Nanosecond, Timeout: 5 * time.Second, Wait: 2 * time.Second,
		Restart: func(context.Context) error {
			w.stop()
			w.mu.Lock()
			w.st, w.late = w.disk, nil
			if w.wrong == "restart-root" {
				w.st.cp.Root = tlog.Hash{}
			}
			w.mu.Unlock()
			return w.start()
		},
	}
}

func (w *fake) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	limit := int64(checkpoint.MaxRequest)
	if w.wrong == "signatures-16" {
		limit = 16 << 10
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, req.Body, limit))
	if err != nil {
		http.Error(rw, "body", http.StatusRequestEntityTooLarge)
		return
	}
	if w.wrong == "keep-alive" {
		rw.Header().Set("Connection", "close")
	}
	post := req.Method == http.MethodPost
	switch path := req.URL.Path; {
	case path == "/add-checkpoint" && (post || w.wrong == "method-put" && req.Method == http.MethodPut):
		w.reply(rw, w.add(string(body)))
	case path == "/add-checkpoint" && w.wrong == "method-get", path == "/sign-subtree" && w.wrong == "subtree-get" && !post:
		rw.WriteHeader(http.StatusOK)
	case path == "/sign-subtree" && post && w.wrong != "ed25519":
		w.reply(rw, w.subtree(string(body)))
	case strings.HasSuffix(path, "/checkpoint") && w.wrong != "no-monitor" && (req.Method == http.MethodGet || w.wrong == "monitor-post"):
		w.monitor(rw, strings.TrimSuffix(path[1:], "/checkpoint"))
	case path == "/add-checkpoint" || path == "/sign-subtree" && w.wrong != "ed25519":
		http.Error(rw, "POST", http.StatusMethodNotAllowed)
	default:
		http.NotFound(rw, req)
	}
}

// A refusal is an answer that is not 200.
type refusal struct {
	status int
	size   int64
	body   string
}

func (r refusal) Error() string { return strconv.Itoa(r.status) }

type result struct {
	lines []byte
	err   error
}

func (w *fake) reply(rw http.ResponseWriter, res result) {
	var no refusal
	switch {
	case res.err == nil:
		rw.Write(res.lines)
	case !errors.As(res.err, &no):
		http.Error(rw, res.err.Error(), http.StatusInternalServerError)
	case no.status == http.StatusConflict && no.body == "":
		ct, end := "text/x.tlog.size", "\n"
		if w.wrong == "conflict-type" {
			ct = "text/plain"
		}
		if w.wrong == "conflict-body" {
			end = ""
		}
		rw.Header().Set("Content-Type", ct)
		rw.WriteHeader(no.status)
		io.WriteString(rw, strconv.FormatInt(no.size, 10)+end)
	default:
		http.Error(rw, no.body, no.status)
	}
}

func refuse(status int) error { return refusal{status: status, body: http.StatusText(status)} }

func (w *fake) add(body string) result {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late != nil {
		defer func(s state) { w.st, w.late = s, nil }(*w.late)
	}
	if f := lenientBody[w.wrong]; f != nil {
		body = f(w, body)
	}
	if w.wrong == "body-empty" && strings.TrimSpace(body) == "" {
		return result{}
	}
	req, err := checkpoint.ParseAddRequest([]byte(body))
	if err != nil {
		return result{err: refuse(http.StatusBadRequest)}
	}
	if w.wrong == "note-missing" && len(req.Note) == 0 {
		return result{err: errors.New("index out of range")}
	}
	n, cp, err := w.read(req.Note)
	if err != nil {
		return result{err: err}
	}
	return w.decide(req, n, cp)
}

// read checks origin, signatures and form.
func (w *fake) read(raw []byte) (n checkpoint.Note, cp checkpoint.Checkpoint, err error) {
	lenient := lenientText[w.wrong]
	if lenient != nil {
		// The signature is of what was sent, and the rest is taken from what it
		// might mean.
		text, sigs, _ := strings.Cut(string(raw), "\n\n— ")
		if n, err = checkpoint.ParseNote([]byte("x\n\n— " + sigs)); err == nil {
			n.Text = text + "\n"
		}
	} else {
		n, err = checkpoint.ParseNote(raw)
	}
	if err != nil {
		return n, cp, refuse(http.StatusBadRequest)
	}
	origin, _, _ := strings.Cut(n.Text, "\n")
	if origin != w.log.origin() && w.wrong != "origin-unknown-key-known" {
		if w.wrong == "origin-unknown" {
			return n, cp, refuse(http.StatusForbidden)
		}
		return n, cp, refuse(http.StatusNotFound)
	}
	if !w.signed(n) {
		return n, cp, refuse(http.StatusForbidden)
	}
	text := n.Text
	if lenient != nil {
		text = lenient(text)
	}
	if cp, err = checkpoint.Parse(text); err != nil {
		if w.wrong == "text-short" {
			return n, cp, err
		}
		return n, cp, refuse(http.StatusBadRequest)
	}
	if w.wrong == "extensions" && cp.Extensions != nil {
		return n, cp, refuse(http.StatusBadRequest)
	}
	return n, cp, nil
}

// signed checks the signatures.
func (w *fake) signed(n checkpoint.Note) bool {
	k := w.log.key
	name, id := k.Name(), k.ID()
	switch w.wrong {
	case "signature-bad", "signature-other-text":
		return slices.ContainsFunc(n.Signatures, func(s checkpoint.Signature) bool { return s.Name == name && s.ID == id })
	case "key-unknown":
		if !slices.ContainsFunc(n.Signatures, func(s checkpoint.Signature) bool { return s.ID == id }) {
			return true
		}
	case "key-other-name":
		for i := range n.Signatures {
			if n.Signatures[i].ID == id {
				n.Signatures[i].Name = name
			}
		}
	case "signature-good-then-bad":
		for i, s := range n.Signatures {
			if s.Name == name && s.ID == id {
				n.Signatures = n.Signatures[:i+1]
				break
			}
		}
	case "signature-bad-then-good":
		n.Signatures = slices.DeleteFunc(n.Signatures, func(s checkpoint.Signature) bool { return !k.Verify(n.Text, s.Bytes) })
	case "signature-unknown":
		return len(n.Signatures) == 1
	case "signature-known-name":
		if slices.ContainsFunc(n.Signatures, func(s checkpoint.Signature) bool { return s.Name == name && s.ID != id }) {
			return false
		}
	case "signature-known-id":
		if slices.ContainsFunc(n.Signatures, func(s checkpoint.Signature) bool { return s.Name != name && s.ID == id }) {
			return false
		}
	}
	_, err := n.Verify(k)
	return err == nil
}

// cosign returns the lines for a checkpoint.
func (w *fake) cosign(cp checkpoint.Checkpoint) result {
	now := time.Now().Unix()
	ofEd, ofML := cp, cp
	switch w.wrong {
	case "grow":
		if w.st.known && cp.Size > w.st.cp.Size {
			ofEd, ofML = w.st.cp, w.st.cp
		}
	case "refresh-time":
		if lines := w.cached[cp.Text()]; lines != nil {
			return result{lines: lines}
		}
	case "clock":
		now += 3600
	case "extensions-cosigned":
		ofEd.Extensions = nil
	case "answer-whole-tree":
		ofML.Size--
	}
	ed, err := w.ed.Cosign(ofEd, now)
	if err != nil {
		return result{err: err}
	}
	if w.wrong == "ed25519" {
		return result{lines: []byte(ed.String())}
	}
	ml, err := w.ml.Cosign(ofML, now)
	if w.wrong == "answer-time" {
		ml, err = w.ml.CosignSubtree(checkpoint.Subtree{Origin: cp.Origin, End: cp.Size, Hash: cp.Root})
	}
	if err != nil {
		return result{err: err}
	}
	lines := ed.String() + ml.String()
	switch w.wrong {
	case "answer-verifies":
		lines = spoilt(ed).String() + ml.String()
	case "answer-keys":
		lines += stranger("stranger.example").sign("\x00\x00\x00\x00\x00\x00\x00\x01").String()
	case "answer-lines":
		lines += "\n"
	case "refresh-time":
		w.cached[cp.Text()] = []byte(lines)
	}
	return result{lines: []byte(lines)}
}

func (w *fake) monitor(rw http.ResponseWriter, hash string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := sha256.Sum256([]byte(w.log.origin()))
	if w.wrong == "monitor-upper-case" {
		hash = strings.ToLower(hash)
	}
	if hash != hex.EncodeToString(sum[:]) || !w.st.known {
		if w.wrong == "monitor-unknown" && w.st.known || w.wrong == "first-monitor-404" {
			return
		}
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	s := w.st
	if w.wrong == "monitor-newest" {
		s = w.before
	}
	var mine, logs string
	for _, sig := range s.note.Signatures {
		if w.log.key.Verify(s.note.Text, sig.Bytes) {
			logs = sig.String()
		}
	}
	mine = string(s.lines)
	switch w.wrong {
	case "monitor-checkpoint":
		s.note.Text = "other" + s.note.Text
	case "monitor-log-signature":
		logs = ""
	case "monitor-cosignature":
		mine = ""
	}
	io.WriteString(rw, s.note.Text+"\n"+logs+mine)
}
