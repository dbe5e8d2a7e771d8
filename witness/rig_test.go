// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(childMain(config))
	}
	os.Exit(m.Run())
}

// thorough reports whether the tests have minutes, not seconds.
func thorough() bool {
	return os.Getenv("SUMLOG_LONG") != "" || os.Getenv("CI") == "true"
}

// A fork is where a log's history becomes another one: its entries from at on have
// label in them.
type fork struct {
	at    int64
	label string
}

// A history says which entries a tree has: those of each fork until the next.
type history []fork

func (h history) String() string {
	var b strings.Builder
	for _, f := range h {
		fmt.Fprintf(&b, "%d/%s ", f.at, f.label)
	}
	return b.String()
}

// label returns the label of entry i.
func (h history) label(i int64) string {
	label := ""
	for _, f := range h {
		if f.at <= i {
			label = f.label
		}
	}
	return label
}

// branch returns a history that parts from that of nothing at entry b.
func branch(b int64) history {
	if b == 0 {
		return nil
	}
	return history{{b, "branch"}}
}

// A testLog is a log that signs whatever it is told.
type testLog struct {
	origin  string
	key     *checkpoint.Key
	private ed25519.PrivateKey

	mu     sync.Mutex
	stored map[string]storage
}

type storage []tlog.Hash

func (s storage) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s[x]
	}
	return out, nil
}

func newTestLog(origin string) *testLog {
	seed := sha256.Sum256([]byte(origin))
	l := &testLog{origin: origin, private: ed25519.NewKeyFromSeed(seed[:]), stored: make(map[string]storage)}
	var err error
	l.key, err = checkpoint.NewKey("key.example/log", checkpoint.Ed25519, l.private.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return l
}

func (l *testLog) config() state.Log {
	return state.Log{Origin: l.origin, Keys: []*checkpoint.Key{l.key}}
}

// hashes returns the stored hashes of a history, of size entries at least.
func (l *testLog) hashes(h history, size int64) storage {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := h.String()
	s, ok := l.stored[key]
	if !ok && len(l.stored) > 20 {
		clear(l.stored)
	}
	if !ok && len(h) > 0 {
		// What it has in common with the history that it parted from.
		parent, at := l.stored[h[:len(h)-1].String()], h[len(h)-1].at
		if n := tlog.StoredHashCount(at); int64(len(parent)) >= n {
			s = append(s, parent[:n]...)
		}
	}
	for i := int64(0); i < size; i++ {
		if tlog.StoredHashIndex(0, i) < int64(len(s)) {
			continue
		}
		hashes, err := tlog.StoredHashes(i, fmt.Appendf(nil, "%s %d %s", l.origin, i, h.label(i)), s)
		if err != nil {
			panic(err)
		}
		s = append(s, hashes...)
	}
	l.stored[key] = s
	return s
}

func (l *testLog) treeOf(h history, size int64) tlog.Tree {
	if size == 0 {
		return tlog.Tree{Hash: emptyRoot}
	}
	root, err := tlog.TreeHash(size, l.hashes(h, size))
	if err != nil {
		panic(err)
	}
	return tlog.Tree{N: size, Hash: root}
}

func (l *testLog) tree(b, size int64) tlog.Tree { return l.treeOf(branch(b), size) }

func (l *testLog) proof(h history, from, to int64) []tlog.Hash {
	if from == 0 || from >= to {
		return nil
	}
	p, err := tlog.ProveTree(to, from, l.hashes(h, to))
	if err != nil {
		panic(err)
	}
	return p
}

func (l *testLog) sign(text string) checkpoint.Signature {
	return checkpoint.Signature{Name: l.key.Name(), ID: l.key.ID(), Bytes: ed25519.Sign(l.private, []byte(text))}
}

func (l *testLog) note(t tlog.Tree, extensions ...string) checkpoint.Note {
	text := checkpoint.Checkpoint{Origin: l.origin, Size: t.N, Root: t.Hash, Extensions: extensions}.Text()
	return checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{l.sign(text)}}
}

// requestOf returns a good request from one size of a history to another.
func (l *testLog) requestOf(h history, from, to int64, extensions ...string) checkpoint.AddRequest {
	return checkpoint.AddRequest{Old: from, Proof: l.proof(h, from, to), Note: l.note(l.treeOf(h, to), extensions...).Bytes()}
}

func (l *testLog) request(b, from, to int64) checkpoint.AddRequest {
	return l.requestOf(branch(b), from, to)
}

// A rig is a witness with its parts.
type rig struct {
	t         testing.TB
	dir       string
	store     *state.Store
	w         *Witness
	clock     atomic.Int64 // POSIX time
	logged    *logBuffer
	cosigners []*checkpoint.Cosigner
}

const (
	witnessName = "witness.example/w"
	startTime   = 1_700_000_000
)

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func ed25519Cosigner(name string) *checkpoint.Cosigner {
	seed := sha256.Sum256([]byte("key of " + name))
	c, err := checkpoint.NewCosigner(name, ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return c
}

func testCosigners() []*checkpoint.Cosigner {
	return []*checkpoint.Cosigner{ed25519Cosigner(witnessName)}
}

func mldsaCosigner(t testing.TB, name string) *checkpoint.Cosigner {
	seed := sha256.Sum256([]byte("ML-DSA key of " + name))
	k, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.NewCosigner(name, k)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newRig starts a witness that knows logs.
func newRig(t testing.TB, logs ...*testLog) *rig {
	t.Helper()
	return newRigIn(t, t.TempDir(), logs...)
}

func newRigIn(t testing.TB, dir string, logs ...*testLog) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(dir, "w"), logged: new(logBuffer), cosigners: testCosigners()}
	if err := state.Create(r.dir, ""); err != nil {
		t.Fatal(err)
	}
	r.clock.Store(startTime)
	r.start()
	t.Cleanup(r.stop)
	for _, l := range logs {
		if err := r.w.AddLog(l.config()); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) start(peers ...string) {
	r.t.Helper()
	var err error
	if r.store, err = state.Open(state.Config{Dir: r.dir}); err != nil {
		r.t.Fatal(err)
	}
	r.w, err = New(Config{Name: witnessName, Cosigners: r.cosigners, Store: r.store, Peers: peers,
		Now:    func() time.Time { return time.Unix(r.clock.Load(), 0) },
		Logger: slog.New(slog.NewTextHandler(r.logged, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	r.t.Helper()
	if err := errors.Join(r.w.Close(), r.store.Close()); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) restart(peers ...string) {
	r.t.Helper()
	r.stop()
	r.start(peers...)
}

// memoryDir returns a directory where syncs cost nothing, if there is one.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "witness-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// add has req answered, and checks the cosignatures.
func (r *rig) add(req checkpoint.AddRequest) (int, []checkpoint.Signature) {
	r.t.Helper()
	lines, err := r.w.Add(context.Background(), req.Bytes())
	if err != nil {
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			r.t.Fatalf("%T %v", err, err)
		}
		return refusal.Status, nil
	}
	return http.StatusOK, r.cosignatures(req.Note, lines)
}

// mustAdd has a good request from one size of a branch to another cosigned.
func (r *rig) mustAdd(l *testLog, branch, from, to int64) []checkpoint.Signature {
	r.t.Helper()
	status, sigs := r.add(l.request(branch, from, to))
	if status != http.StatusOK {
		r.t.Fatalf("%s: from %d to %d: status %d", l.origin, from, to, status)
	}
	return sigs
}

// cosignatures checks that lines are cosignatures of a note by all keys.
func (r *rig) cosignatures(note, lines []byte) []checkpoint.Signature {
	r.t.Helper()
	text, _, _ := strings.Cut(string(note), "\n\n")
	n, err := checkpoint.ParseNote([]byte(text + "\n\n" + string(lines)))
	if err != nil {
		r.t.Fatalf("%q: %v", lines, err)
	}
	sigs, err := n.Verify(r.w.keys...)
	if err != nil || len(sigs) != len(r.w.keys) || len(n.Signatures) != len(sigs) {
		r.t.Fatalf("%d cosignatures of %d keys: %v", len(sigs), len(r.w.keys), err)
	}
	return sigs
}

func timeOf(t testing.TB, sigs []checkpoint.Signature) int64 {
	t.Helper()
	at, ok := sigs[0].Time()
	if !ok {
		t.Fatal("a cosignature without a time")
	}
	return at
}

func (r *rig) head(l *testLog) tlog.Tree {
	r.t.Helper()
	head, ok := r.w.Head(l.origin)
	if !ok {
		r.t.Fatalf("%s is not known", l.origin)
	}
	return head
}
