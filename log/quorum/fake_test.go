// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package quorum

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
)

// A fakeLog is a history of any length. Two of the same name and seed are one
// log; a fork is another one from some entry on.
type fakeLog struct {
	key    *checkpoint.Key
	sk     ed25519.PrivateKey
	hashes []tlog.Hash
}

const logName = "log.example"

// newLog returns a log of a hundred entries, forked at entry fork.
func newLog(fork int) *fakeLog {
	l := &fakeLog{sk: edKey(logName)}
	l.key = must(checkpoint.NewKey(logName, checkpoint.Ed25519, l.sk.Public().(ed25519.PublicKey)))
	for i := range 100 {
		entry := fmt.Sprint(i)
		if i >= fork {
			entry += " forked"
		}
		l.hashes = append(l.hashes, must(tlog.StoredHashes(int64(i), []byte(entry), l))...)
	}
	return l
}

func (l *fakeLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *fakeLog) checkpoint(size int64) checkpoint.Checkpoint {
	root := tlog.Hash(sha256.Sum256(nil))
	if size > 0 {
		root = must(tlog.TreeHash(size, l))
	}
	return checkpoint.Checkpoint{Origin: logName, Size: size, Root: root}
}

func (l *fakeLog) sign(c checkpoint.Checkpoint) checkpoint.Note {
	return checkpoint.Note{Text: c.Text(), Signatures: []checkpoint.Signature{
		{Name: l.key.Name(), ID: l.key.ID(), Bytes: ed25519.Sign(l.sk, []byte(c.Text()))},
	}}
}

// request returns what Cosign wants.
func (l *fakeLog) request(size int64) Request {
	return Request{
		Note:  l.sign(l.checkpoint(size)).Bytes(),
		Prove: func(old int64) ([]tlog.Hash, error) { return tlog.ProveTree(size, old, l) },
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func edKey(seed string) ed25519.PrivateKey {
	s := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(s[:])
}

// A fakeWitness is a good witness, unless bad answers instead of it.
type fakeWitness struct {
	name     string
	cosigner *checkpoint.Cosigner
	log      *checkpoint.Key
	bad      http.HandlerFunc // of add-checkpoint
	badView  http.HandlerFunc // of the monitoring endpoint

	mu   sync.Mutex
	last checkpoint.Checkpoint
	note []byte
	olds []int64 // of each request
	gets int
}

func newWitness(name string, pq bool) *fakeWitness {
	var signer crypto.Signer = edKey(name)
	if pq {
		seed := sha256.Sum256([]byte(name))
		signer = must(mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:]))
	}
	return &fakeWitness{name: name, cosigner: must(checkpoint.NewCosigner(name+".example", signer)), log: newLog(100).key}
}

// holds makes the witness one that has cosigned l at size.
func (f *fakeWitness) holds(l *fakeLog, size int64) {
	f.last, f.note = l.checkpoint(size), l.sign(l.checkpoint(size)).Bytes()
}

func (f *fakeWitness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := must(io.ReadAll(r.Body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch r.Method + " " + r.URL.Path {
	case "POST /" + f.name + "/add-checkpoint":
		req := must(checkpoint.ParseAddRequest(body))
		f.mu.Lock()
		f.olds = append(f.olds, req.Old)
		bad := f.bad
		f.mu.Unlock()
		if bad != nil {
			bad(w, r)
			return
		}
		f.add(w, req)
	case fmt.Sprintf("GET /%s/%x/checkpoint", f.name, sha256.Sum256([]byte(logName))):
		f.mu.Lock()
		f.gets++
		bad, note := f.badView, f.note
		f.mu.Unlock()
		switch {
		case bad != nil:
			bad(w, r)
		case note == nil:
			http.NotFound(w, r)
		default:
			w.Write(note)
		}
	default:
		panic(r.Method + " " + r.URL.Path)
	}
}

// add is what a correct witness does.
func (f *fakeWitness) add(w http.ResponseWriter, req checkpoint.AddRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := must(checkpoint.ParseNote(req.Note))
	must(n.Verify(f.log))
	c := must(checkpoint.Parse(n.Text))
	if req.Old > c.Size || len(n.Signatures) != 1 {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	if req.Old != f.last.Size {
		conflictWith(f.last.Size)(w, nil)
		return
	}
	switch {
	case req.Old == 0 && len(req.Proof) > 0,
		req.Old == c.Size && (f.note != nil && f.last.Root != c.Root || len(req.Proof) > 0),
		0 < req.Old && req.Old < c.Size && tlog.CheckTree(req.Proof, c.Size, c.Root, req.Old, f.last.Root) != nil:
		http.Error(w, "inconsistent", http.StatusUnprocessableEntity)
		return
	}
	f.last = c
	s := must(f.cosigner.Cosign(c, time.Now().Unix()))
	n.Signatures = append(n.Signatures, s)
	f.note = n.Bytes()
	fmt.Fprint(w, s)
}

// set changes what the witness answers.
func (f *fakeWitness) set(bad http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad = bad
}

// asked returns the old sizes of the requests since it was last called.
func (f *fakeWitness) asked() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	olds := f.olds
	f.olds = nil
	return olds
}

func conflictWith(size int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintln(w, size)
	}
}

// network is a client's transport that reaches handlers without sockets, by
// the first element of the path.
type network map[string]http.Handler

var errDown = errors.New("connection refused")

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	h := n[strings.Split(r.URL.Path, "/")[1]]
	rec := httptest.NewRecorder()
	down := false
	func() {
		defer func() {
			switch e := recover(); e {
			case nil:
			case http.ErrAbortHandler:
				down = true
			default:
				panic(e)
			}
		}()
		h.ServeHTTP(rec, r)
	}()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if down {
		return nil, errDown
	}
	return rec.Result(), nil
}

func down(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// policyOf returns a policy over witnesses: lines is what follows theirs.
func policyOf(t testing.TB, base string, witnesses []*fakeWitness, lines string) *policy.Policy {
	t.Helper()
	var b strings.Builder
	for _, w := range witnesses {
		fmt.Fprintf(&b, "witness %s %v %s/%s\n", w.name, w.cosigner.Key(), base, w.name)
	}
	p, err := policy.Parse([]byte(b.String() + lines))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	twoOfThree = "group g 2 a b c\nquorum g\n"
	allOfThree = "group g all a b c\nquorum g\n"
	oneOfThree = "group g any a b c\nquorum g\n"
)

// start returns a Quorum over three good witnesses, reached without sockets,
// which is closed at the end of the test.
func start(t *testing.T, lines string) (*Quorum, []*fakeWitness) {
	t.Helper()
	ws := []*fakeWitness{newWitness("a", false), newWitness("b", true), newWitness("c", false)}
	return startWith(t, ws, lines), ws
}

func startWith(t *testing.T, ws []*fakeWitness, lines string) *Quorum {
	t.Helper()
	n := make(network)
	for _, w := range ws {
		n[w.name] = w
	}
	q, err := New(Config{Policy: policyOf(t, "http://witness.example", ws, lines), Log: newLog(100).key, Client: &http.Client{Transport: n}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// cosigned returns the names of the witnesses in a note, after checking every
// line of it.
func cosigned(t testing.TB, ws []*fakeWitness, note []byte, c checkpoint.Checkpoint) string {
	t.Helper()
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		t.Fatalf("%v: %q", err, note)
	}
	if n.Text != c.Text() {
		t.Fatalf("text %q, want %q", n.Text, c.Text())
	}
	if _, err := n.Verify(newLog(100).key); err != nil || n.Signatures[0].Name != logName {
		t.Fatalf("the log's signature is not the first: %q", note)
	}
	var names []string
	for _, s := range n.Signatures[1:] {
		for _, w := range ws {
			if k := w.cosigner.Key(); k.Name() == s.Name && k.ID() == s.ID && k.Verify(n.Text, s.Bytes) {
				names = append(names, w.name)
			}
		}
	}
	if len(names) != len(n.Signatures)-1 {
		t.Fatalf("lines of nobody: %q", note)
	}
	return strings.Join(names, " ")
}
