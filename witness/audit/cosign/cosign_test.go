// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cosign

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
)

// A testLog is a log with two branches that part at fork.
type testLog struct {
	key    *checkpoint.Key
	signer note.Signer
	hashes [2]hashes
}

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, h[i])
	}
	return out, nil
}

func newTestLog(n, fork int64) *testLog {
	seed := sha256.Sum256([]byte("log"))
	skey, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), "log.example")
	if err != nil {
		panic(err)
	}
	l := &testLog{}
	if l.signer, err = note.NewSigner(skey); err != nil {
		panic(err)
	}
	if l.key, err = checkpoint.ParseKey(vkey); err != nil {
		panic(err)
	}
	for b := range l.hashes {
		for i := range n {
			text := fmt.Sprint(i)
			if i >= fork {
				text = fmt.Sprint(b, i)
			}
			h, err := tlog.StoredHashes(i, []byte(text), l.hashes[b])
			if err != nil {
				panic(err)
			}
			l.hashes[b] = append(l.hashes[b], h...)
		}
	}
	return l
}

func (l *testLog) tree(branch int, n int64) tlog.Tree {
	h, err := tlog.TreeHash(n, l.hashes[branch])
	if err != nil {
		panic(err)
	}
	return tlog.Tree{N: n, Hash: h}
}

// note returns the signed checkpoint, which a witness has cosigned.
func (l *testLog) note(branch int, n int64) []byte {
	t := l.tree(branch, n)
	c := checkpoint.Checkpoint{Origin: "log.example", Size: n, Root: t.Hash}
	msg, err := note.Sign(&note.Note{Text: c.Text()}, l.signer)
	if err != nil {
		panic(err)
	}
	sig, err := newCosigner("witness.example", false).Cosign(c, 7)
	if err != nil {
		panic(err)
	}
	return append(msg, sig.String()...)
}

func (l *testLog) proof(branch int, old, n int64) []tlog.Hash {
	if old == 0 || old >= n {
		return nil
	}
	p, err := tlog.ProveTree(n, old, l.hashes[branch])
	if err != nil {
		panic(err)
	}
	return p
}

func newCosigner(name string, large bool) *checkpoint.Cosigner {
	seed := sha256.Sum256([]byte(name))
	var key crypto.Signer = ed25519.NewKeyFromSeed(seed[:])
	if large {
		var err error
		if key, err = mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:]); err != nil {
			panic(err)
		}
	}
	c, err := checkpoint.NewCosigner(name, key)
	if err != nil {
		panic(err)
	}
	return c
}

// A rig is a state, and the clock of its process.
type rig struct {
	t   testing.TB
	log *testLog
	c   Config
	now time.Time
	*Signer
}

func newRig(t testing.TB, dir string, large bool) *rig {
	r := &rig{t: t, log: newTestLog(40, 20), now: time.Unix(1000, 0)}
	r.c = Config{Dir: dir, Log: r.log.key, Cosigner: newCosigner("audit.example", large), Now: func() time.Time { return r.now }}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.Signer, err = Open(r.c); err != nil {
		r.t.Fatal(err)
	}
}

// again ends the process and begins it again.
func (r *rig) again() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// must cosigns a checkpoint and returns the time of the cosignature.
func (r *rig) must(branch int, old, n int64) int64 {
	r.t.Helper()
	out, err := r.Cosign(r.log.note(branch, n), r.log.proof(branch, old, n))
	if err != nil {
		r.t.Fatalf("size %d after %d: %v", n, old, err)
	}
	parsed, err := checkpoint.ParseNote(out)
	if err != nil {
		r.t.Fatal(err)
	}
	sigs, err := parsed.Verify(r.log.key, r.c.Cosigner.Key())
	if err != nil || len(sigs) != 2 || len(parsed.Signatures) != 2 {
		r.t.Fatalf("%v:\n%s", err, out)
	}
	if c, err := checkpoint.Parse(parsed.Text); err != nil || c.Tree() != r.log.tree(branch, n) {
		r.t.Fatalf("%v %v", c, err)
	}
	r.wantLast(n)
	at, _ := sigs[1].Time()
	return at
}

func (r *rig) wantLast(n int64) {
	r.t.Helper()
	if head, _, ok := r.Last(); head.Size != n || !ok {
		r.t.Errorf("last is size %d, %v; want %d", head.Size, ok, n)
	}
}

func (r *rig) refuse(branch int, n int64, proof []tlog.Hash) {
	r.t.Helper()
	before := r.last
	if out, err := r.Cosign(r.log.note(branch, n), proof); !errors.Is(err, ErrRefused) || out != nil {
		r.t.Errorf("size %d of branch %d: %v", n, branch, err)
	}
	if r.last != before {
		r.t.Error("a refusal changed the state")
	}
}

func TestCosign(t *testing.T) {
	for _, large := range []bool{false, true} {
		r := newRig(t, filepath.Join(t.TempDir(), "a/b"), large)
		if _, _, ok := r.Last(); ok {
			t.Error("something was cosigned at first")
		}
		r.must(0, 0, 0)
		r.must(0, 0, 10)
		r.again()
		r.wantLast(10)
		r.must(0, 10, 16)
		r.must(0, 16, 25)
		for range 2 {
			r.refuse(0, 24, nil)
			r.refuse(0, 24, r.log.proof(0, 24, 25))
			r.refuse(0, 0, nil)
			r.refuse(1, 25, nil)
			r.refuse(1, 30, r.log.proof(1, 25, 30))
			r.refuse(1, 30, r.log.proof(0, 25, 30))
			r.refuse(0, 30, nil)
			r.refuse(0, 30, r.log.proof(0, 24, 30))
			r.again()
		}
		if at := r.must(0, 25, 25); at != 1000 {
			t.Errorf("at %d", at)
		}
		r.now = r.now.Add(5 * time.Second)
		if at := r.must(0, 25, 25); at != 1005 {
			t.Errorf("at %d", at)
		}
		// The clock is set back: a larger tree earlier than a smaller one would
		// make a lie of the smaller one.
		r.now = r.now.Add(-time.Hour)
		if at := r.must(0, 25, 30); at != 1005 {
			t.Errorf("at %d", at)
		}
		r.again()
		if at := r.must(0, 30, 31); at != 1005 {
			t.Errorf("at %d", at)
		}
		r.Close()
	}
}

// TestModel cosigns what a random log shows, with restarts, and holds all that was
// said against each other.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "cosign")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r := &rig{log: newTestLog(40, 20), now: time.Unix(1000, 0)}
		r.c = Config{Dir: dir, Log: r.log.key, Cosigner: newCosigner("audit.example", false), Now: func() time.Time { return r.now }}
		if r.Signer, err = Open(r.c); err != nil {
			t.Fatal(err)
		}
		defer func() { r.Close() }()
		type said struct {
			tree tlog.Tree
			at   int64
		}
		var all []said
		t.Repeat(map[string]func(*rapid.T){
			"cosign": func(t *rapid.T) {
				branch, n := rapid.IntRange(0, 1).Draw(t, "branch"), rapid.Int64Range(0, 40).Draw(t, "size")
				last, _, _ := r.Last()
				old := min(n, last.Size)
				if rapid.IntRange(0, 9).Draw(t, "another proof") == 0 {
					old = rapid.Int64Range(0, n).Draw(t, "old")
				}
				out, err := r.Cosign(r.log.note(branch, n), r.log.proof(branch, old, n))
				if err == nil {
					c, err := r.parse(out)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, said{c.Tree(), c.time})
				}
			},
			"clock": func(t *rapid.T) {
				r.now = r.now.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "seconds")) * time.Second)
			},
			"again": func(t *rapid.T) {
				r.Close()
				if r.Signer, err = Open(r.c); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for i := 1; i < len(all); i++ {
					a, b := all[i-1], all[i]
					if b.tree.N < a.tree.N || b.at < a.at {
						t.Fatalf("%v after %v", b, a)
					}
					one := b.tree == r.log.tree(0, b.tree.N) && a.tree == r.log.tree(0, a.tree.N) ||
						b.tree == r.log.tree(1, b.tree.N) && a.tree == r.log.tree(1, a.tree.N)
					if !one {
						t.Fatalf("%v excludes %v", b, a)
					}
				}
			},
		})
	})
}

// TestForeign hands over what is no checkpoint of the log.
func TestForeign(t *testing.T) {
	r := newRig(t, t.TempDir(), false)
	defer r.Close()
	good := string(r.log.note(0, 10))
	text, sigs, _ := strings.Cut(good, "\n\n")
	_, cosig, _ := strings.Cut(sigs, "\n")
	for name, msg := range map[string]string{
		"nothing":         "",
		"unsigned":        text + "\n\n" + cosig,
		"another size":    strings.Replace(good, "\n10\n", "\n11\n", 1),
		"another origin":  strings.Replace(good, "log.example\n", "log.example2\n", 1),
		"two notes":       good + good,
		"only a text":     text + "\n",
		"a strange space": strings.Replace(good, "— log.example ", "— log.example  ", 1),
	} {
		if _, err := r.Cosign([]byte(msg), nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, ok := r.Last(); ok {
		t.Error("something was cosigned")
	}
	// Who could sign as log and as cosigner would vouch for himself.
	if _, err := Open(Config{Dir: t.TempDir(), Log: r.log.key, Cosigner: newCosigner("log.example", false)}); !errors.Is(err, ErrRefused) {
		t.Errorf("of the log's own name: %v", err)
	}
	if _, err := Open(Config{Log: r.log.key}); err == nil {
		t.Error("without a directory")
	}
}

// TestRecall shows the state what the log has.
func TestRecall(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, false)
	defer func() { r.Close() }()
	strangers := r.log.note(0, 30)
	if err := r.Recall(strangers); err != nil {
		t.Errorf("nobody's: %v", err)
	}
	if err := r.Recall([]byte("<html>")); err == nil || errors.Is(err, ErrBehind) {
		t.Errorf("garbage: %v", err)
	}
	r.must(0, 0, 10)
	first := r.last.Note
	backup, err := os.ReadFile(filepath.Join(r.root.Name(), lastFile))
	if err != nil {
		t.Fatal(err)
	}
	older := backup
	r.now = r.now.Add(time.Minute)
	r.must(0, 10, 10)
	again := r.last.Note
	r.must(0, 10, 12) // in the same second
	newest := r.last.Note
	for _, n := range [][]byte{first, again, newest, strangers} {
		if err := r.Recall(n); err != nil {
			t.Errorf("older or the same: %v", err)
		}
	}
	if backup, err = os.ReadFile(filepath.Join(r.root.Name(), lastFile)); err != nil {
		t.Fatal(err)
	}
	r.must(0, 12, 13)
	newest = r.last.Note
	// The state as it was once, a second ago or less, and none at all.
	for name, put := range map[string]func() error{
		"put back":  func() error { return os.WriteFile(filepath.Join(r.root.Name(), lastFile), older, 0o644) },
		"just back": func() error { return os.WriteFile(filepath.Join(r.root.Name(), lastFile), backup, 0o644) },
		"lost":      func() error { return os.Remove(filepath.Join(r.root.Name(), lastFile)) },
	} {
		for _, n := range [][]byte{again, newest} {
			if name == "just back" && bytes.Equal(n, again) {
				continue // which it knows of
			}
			if err := put(); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			r.again()
			if err := r.Recall(n); !errors.Is(err, ErrBehind) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := r.Cosign(r.log.note(0, 30), r.log.proof(0, 10, 30)); !errors.Is(err, ErrBehind) {
				t.Errorf("%s: after that: %v", name, err)
			}
			if err := r.Recall(first); !errors.Is(err, ErrBehind) {
				t.Errorf("%s: shown less: %v", name, err)
			}
		}
	}
	// The same size, another tree: the key has cosigned a fork elsewhere.
	other := newRig(t, t.TempDir(), false)
	other.must(1, 0, 30)
	other.Close()
	mine := newRig(t, t.TempDir(), false)
	defer mine.Close()
	mine.now = mine.now.Add(time.Hour)
	mine.must(0, 0, 30)
	if err := mine.Recall(other.last.Note); !errors.Is(err, ErrBehind) {
		t.Errorf("another tree: %v", err)
	}
}

// TestDamage flips bytes of the state, and cuts it off.
func TestDamage(t *testing.T) {
	r := newRig(t, t.TempDir(), false)
	r.must(0, 0, 10)
	name := filepath.Join(r.root.Name(), lastFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	bad := [][]byte{nil, good[:len(good)/2], r.log.note(0, 10), append(bytes.Clone(good), make([]byte, checkpoint.MaxNote)...)}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		bad = append(bad, b)
	}
	for _, b := range bad {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(r.c); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v, %v", b, s, err)
		}
	}
	if err := os.WriteFile(name, good, 0o644); err != nil {
		t.Fatal(err)
	}
	r.open()
	defer r.Close()
	r.wantLast(10)
	if _, err := Open(r.c); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

// TestUnwritable lets the state be unwritable: no cosignature gets out.
func TestUnwritable(t *testing.T) {
	r := newRig(t, t.TempDir(), false)
	defer func() { r.Close() }()
	r.must(0, 0, 10)
	dir := r.root.Name()
	// A directory where the file belongs cannot be replaced by it.
	if err := errors.Join(os.Rename(filepath.Join(dir, lastFile), filepath.Join(dir, "away")), os.Mkdir(filepath.Join(dir, lastFile), 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := r.Cosign(r.log.note(0, 20), r.log.proof(0, 10, 20)); err == nil || out != nil {
		t.Errorf("%s, %v", out, err)
	}
	r.wantLast(10)
	if err := errors.Join(os.Remove(filepath.Join(dir, lastFile)), os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, lastFile))); err != nil {
		t.Fatal(err)
	}
	r.must(0, 10, 20)
	r.again()
	r.wantLast(20)
	if litter, err := filepath.Glob(filepath.Join(dir, durable.TempPrefix+"*")); err != nil || litter != nil {
		t.Errorf("litter %v, %v", litter, err)
	}
}
