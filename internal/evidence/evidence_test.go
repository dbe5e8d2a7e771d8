// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/testrace"
)

var update = flag.Bool("update", false, "write golden files")

// A testLog is a log with two branches that part at fork.
type testLog struct {
	key     *checkpoint.Key
	private ed25519.PrivateKey
	origin  string
	entries [2][]string
	hashes  [2]storage
}

type storage []tlog.Hash

func (s storage) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, s[i])
	}
	return out, nil
}

func newTestLog(size, fork int64) *testLog {
	l := newLog("log.example/key", "key")
	l.origin = "log.example/origin"
	for i := range size {
		text := fmt.Sprintf("entry %d", i)
		other := text
		if i >= fork {
			text, other = text+" of branch 0", text+" of branch 1"
		}
		l.add(text, other)
	}
	return l
}

// newLog returns an empty log whose origin is its name.
func newLog(name, seed string) *testLog {
	sum := sha256.Sum256([]byte(seed))
	l := &testLog{private: ed25519.NewKeyFromSeed(sum[:]), origin: name}
	l.key, _ = checkpoint.NewKey(name, checkpoint.Ed25519, l.private.Public().(ed25519.PublicKey))
	return l
}

// add adds an entry to both branches.
func (l *testLog) add(texts ...string) {
	for branch := range l.hashes {
		text := texts[branch%len(texts)]
		hashes, err := tlog.StoredHashes(int64(len(l.entries[branch])), []byte(text), l.hashes[branch])
		if err != nil {
			panic(err)
		}
		l.entries[branch] = append(l.entries[branch], text)
		l.hashes[branch] = append(l.hashes[branch], hashes...)
	}
}

func (l *testLog) root(branch int, size int64) tlog.Hash {
	h, err := tlog.TreeHash(size, l.hashes[branch])
	if err != nil {
		panic(err)
	}
	return h
}

func (l *testLog) proof(branch int, from, to int64) []tlog.Hash {
	if from == to {
		return nil
	}
	p, err := tlog.ProveTree(to, from, l.hashes[branch])
	if err != nil {
		panic(err)
	}
	return p
}

func (l *testLog) checkpoint(branch int, size int64, extensions ...string) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Origin: l.origin, Size: size, Root: l.root(branch, size), Extensions: extensions}
}

func (l *testLog) note(branch int, size int64, extensions ...string) checkpoint.Note {
	return l.sign(l.checkpoint(branch, size, extensions...))
}

// treeHead returns the note for the go command.
func (l *testLog) treeHead(branch int, size int64) checkpoint.Note {
	return l.sign(checkpoint.Checkpoint{Origin: databaseOrigin, Size: size, Root: l.root(branch, size)})
}

func (l *testLog) sign(c checkpoint.Checkpoint) checkpoint.Note {
	text := c.Text()
	return checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{
		{Name: "stranger.example", ID: 7, Bytes: []byte("ignored, and not in the file")},
		{Name: l.key.Name(), ID: l.key.ID(), Bytes: ed25519.Sign(l.private, []byte(text))},
	}}
}

// proven returns an entry under a note of a branch.
func (l *testLog) proven(branch int, n checkpoint.Note, i int64) Proven {
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		panic(err)
	}
	proof, err := tlog.ProveRecord(c.Size, i, l.hashes[branch])
	if err != nil {
		panic(err)
	}
	return Proven{Key: l.key, Note: n, Index: i, Record: []byte(l.entries[branch][i]), Proof: proof}
}

// samples returns one evidence of each kind.
func samples(t testing.TB) map[string]*Evidence {
	l := newTestLog(30, 7)
	fork, err := New(l.key, l.note(0, 11), l.note(1, 25), l.proof(1, 11, 25))
	if err != nil {
		t.Fatal(err)
	}
	equivocation, err := New(l.key, l.note(0, 11, "an extension"), l.note(1, 11), nil)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*Evidence{"E1": fork, "E2": equivocation}
}

// all returns one evidence of each form that a file can have.
func all(t testing.TB) map[string]*Evidence {
	m := samples(t)
	maps.Copy(m, headSamples(t))
	maps.Copy(m, recordSamples(t))
	maps.Copy(m, observationSamples(t))
	maps.Copy(m, serverSamples(t))
	return m
}

// kind returns the kind of a sample.
func kind(name string) Kind {
	k, _, _ := strings.Cut(name, "-")
	return Kind(k)
}

func TestKinds(t *testing.T) {
	have := make(map[Kind]bool)
	for name, e := range all(t) {
		if e.Kind() != kind(name) {
			t.Errorf("%s: %v", name, e)
		}
		have[e.Kind()] = true
	}
	for k := range forms {
		if !have[k] {
			t.Errorf("there is no sample of %s", k)
		}
	}
}

func TestGolden(t *testing.T) {
	for name, e := range all(t) {
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, e.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.Bytes(), want) {
			t.Errorf("%s: got\n%s", name, e.Bytes())
		}
		again, err := Parse(want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !sameKeys(again.Accused(), e.Accused()) || again.Origin() != e.Origin() || again.String() != e.String() {
			t.Errorf("%s: parsed as %v", name, again)
		}
		accused := append(again.Accused(), nil)[0]
		word := slices.Contains([]Kind{Contradicted, Moved, Stray, Refused}, e.kind)
		if again.Key() != accused || again.Observation() != word {
			t.Errorf("%s: observation %v", name, again.Observation())
		}
		if a, b := again.Trees(); e.kind == "E2" && a == b {
			t.Errorf("%s: of %v and %v", name, a, b)
		}
		if claim := e.String(); !strings.HasPrefix(claim, string(e.kind)+": ") || strings.Contains(claim, "\n") {
			t.Errorf("%s: %s", name, claim)
		}
	}
}

func sameKeys(a, b []*checkpoint.Key) bool {
	return slices.EqualFunc(a, b, func(k, l *checkpoint.Key) bool { return k.String() == l.String() })
}

// TestReferee has the notes of a file verified by another implementation.
func TestReferee(t *testing.T) {
	for name, e := range samples(t) {
		verifier, err := note.NewVerifier(e.keys[0].String())
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(e.Bytes()), "\n\n")
		for i := 1; i < 5; i += 2 {
			if _, err := note.Open([]byte(parts[i]+"\n\n"+parts[i+1]+"\n"), note.VerifierList(verifier)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		sum := sha256.Sum256([]byte(strings.Join(parts[:len(parts)-1], "\n\n") + "\n\n"))
		if last := parts[len(parts)-1]; last != fmt.Sprintf("%x\n", sum) {
			t.Errorf("%s: last line %q", name, last)
		}
		if name == "E1" {
			var hashes []tlog.Hash
			for line := range strings.SplitSeq(parts[5], "\n") {
				h, err := tlog.ParseHash(line)
				if err != nil {
					t.Fatal(err)
				}
				hashes = append(hashes, h)
			}
			if err := tlog.CheckTree(hashes[1:], 25, e.heads[1].Root, 11, hashes[0]); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestFlip flips a bit of each byte of each file, and resums it too. What an observation says
// of an answer is not signed: changed and resummed it may be another observation,
// of the same record, by the same key.
func TestFlip(t *testing.T) {
	for name, e := range all(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := e.Bytes()
			bits, step := []byte{1}, 1 // mostly another digit
			switch {
			case testrace.Enabled: // there is nothing here to race
				step = 101
			case os.Getenv("CI") == "true":
				bits = []byte{1, 32, 128} // the other case, and not ASCII, too
			case name != string(e.Kind()): // one file of each kind is enough
				step = 31
			}
			observed := 0
			for i := 0; i < len(file); i += step {
				for _, b := range bits {
					bad := bytes.Clone(file)
					bad[i] ^= b
					if _, err := Parse(bad); !errors.Is(err, ErrNotProven) {
						t.Fatalf("byte %d ^ %#x: %v", i, b, err)
					}
					got, err := Parse(resum(bad))
					switch {
					case i >= len(file)-digestSize || errors.Is(err, ErrNotProven):
					case err == nil && e.Observation() && got.Observation() && sameSigned(got, e):
						observed++
					default:
						t.Fatalf("byte %d ^ %#x, resummed: %v %v", i, b, got, err)
					}
				}
			}
			if e.Observation() && step == 1 && observed == 0 {
				t.Error("no change made another observation") // the case above is dead
			}
			for i := 0; i < len(file); i += step {
				if _, err := Parse(file[:i]); !errors.Is(err, ErrNotProven) {
					t.Fatalf("cut at %d: %v", i, err)
				}
				if _, err := Parse(resum(file[:i])); !errors.Is(err, ErrNotProven) && i > 0 {
					t.Fatalf("cut at %d, resummed: %v", i, err)
				}
			}
		})
	}
}

// sameSigned reports whether what is signed is the same in two observations.
func sameSigned(a, b *Evidence) bool {
	return a.kind == b.kind && sameKeys(a.Accused(), b.Accused()) && a.heads[0].Text() == b.heads[0].Text() &&
		a.entries[0].index == b.entries[0].index && bytes.Equal(a.entries[0].text, b.entries[0].text)
}

// resum gives a file a right last line.
func resum(file []byte) []byte {
	if len(file) < 65 {
		return file
	}
	body := file[:len(file)-65]
	return fmt.Appendf(bytes.Clone(body), "%x\n", sha256.Sum256(body))
}

// TestForged has files that are in good form and prove nothing.
func TestForged(t *testing.T) {
	l := newTestLog(30, 7)
	other := newTestLog(30, 7)
	seed := sha256.Sum256([]byte("another key"))
	other.private = ed25519.NewKeyFromSeed(seed[:])
	rewrite := func(e *Evidence, f func(*Evidence)) []byte {
		c := *e
		c.proof = append([]tlog.Hash(nil), e.proof...)
		f(&c)
		return c.Bytes()
	}
	s := samples(t)
	signed := func(n checkpoint.Note) head {
		c, err := checkpoint.Parse(n.Text)
		if err != nil {
			t.Fatal(err)
		}
		return head{c, n.Signatures[1]}
	}
	elsewhere := checkpoint.Checkpoint{Origin: "log.example/other", Size: 11, Root: l.root(1, 11)}
	for name, file := range map[string][]byte{
		"same head twice":       rewrite(s["E2"], func(e *Evidence) { e.heads[1] = e.heads[0] }),
		"order":                 rewrite(s["E2"], func(e *Evidence) { e.heads[0], e.heads[1] = e.heads[1], e.heads[0] }),
		"same root":             rewrite(s["E2"], func(e *Evidence) { e.heads = [2]head{signed(l.note(0, 11)), signed(l.note(0, 11, "x"))} }),
		"sizes":                 rewrite(s["E2"], func(e *Evidence) { e.heads = [2]head{signed(l.note(0, 11)), signed(l.note(1, 12))} }),
		"origins":               rewrite(s["E2"], func(e *Evidence) { e.heads[1] = signed(l.sign(elsewhere)) }),
		"stranger":              rewrite(s["E2"], func(e *Evidence) { e.heads[1] = signed(other.note(1, 11)) }),
		"unknown kind":          rewrite(s["E2"], func(e *Evidence) { e.kind = "E7" }),
		"E2 as E3":              rewrite(s["E2"], func(e *Evidence) { e.kind = Discord }),
		"no proof":              rewrite(s["E1"], func(e *Evidence) { e.kind = Equivocation }),
		"E2 as E1":              rewrite(s["E2"], func(e *Evidence) { e.kind = Fork }),
		"consistent":            rewrite(s["E1"], func(e *Evidence) { e.heads[0] = signed(l.note(1, 11)) }),
		"another root":          rewrite(s["E1"], func(e *Evidence) { e.root[0] ^= 1 }),
		"another proof":         rewrite(s["E1"], func(e *Evidence) { e.proof[2][0] ^= 1 }),
		"longer proof":          rewrite(s["E1"], func(e *Evidence) { e.proof = append(e.proof, tlog.Hash{}) }),
		"shorter proof":         rewrite(s["E1"], func(e *Evidence) { e.proof = e.proof[1:] }),
		"very long proof":       rewrite(s["E1"], func(e *Evidence) { e.proof = make([]tlog.Hash, 64) }),
		"E1 order":              rewrite(s["E1"], func(e *Evidence) { e.heads[0], e.heads[1] = e.heads[1], e.heads[0] }),
		"E1 of one size":        rewrite(s["E1"], func(e *Evidence) { e.heads[1] = signed(l.note(1, 11)); e.proof = nil }),
		"size 0":                rewrite(s["E1"], func(e *Evidence) { e.heads[0] = signed(l.note(0, 0)); e.proof = nil }),
		"too large":             append(s["E2"].Bytes(), make([]byte, MaxFile)...),
		"a second signature":    bytes.Replace(s["E2"].Bytes(), []byte("\n— "), []byte("\n"+s["E2"].heads[0].sig.String()+"— "), 1),
		"something at the end":  append(s["E2"].Bytes(), '\n'),
		"something at the head": append([]byte("\n"), s["E2"].Bytes()...),
	} {
		for _, file := range [][]byte{file, resum(file)} {
			if e, err := Parse(file); !errors.Is(err, ErrNotProven) {
				t.Errorf("%s: %v %v", name, e, err)
			}
		}
	}
}

func TestNewRefusals(t *testing.T) {
	l := newTestLog(30, 7)
	for _, tt := range []struct {
		name  string
		a, b  checkpoint.Note
		proof []tlog.Hash
	}{
		{"consistent", l.note(0, 11), l.note(0, 25), l.proof(0, 11, 25)},
		{"no proof", l.note(0, 11), l.note(1, 25), nil},
		{"a proof of something else", l.note(0, 11), l.note(1, 25), l.proof(1, 12, 25)},
		{"a proof that does not show the new root", l.note(0, 11), l.note(0, 25), l.proof(1, 11, 25)},
		{"the proof takes the old root for granted", l.note(0, 8), l.note(1, 25), l.proof(1, 8, 25)},
		{"equal", l.note(0, 11), l.note(0, 11, "x"), nil},
		{"unsigned", checkpoint.Note{Text: l.note(0, 11).Text}, l.note(1, 11), nil},
	} {
		if e, err := New(l.key, tt.a, tt.b, tt.proof); !errors.Is(err, ErrNotProven) {
			t.Errorf("%s: %v %v", tt.name, e, err)
		}
	}
}

// TestModel draws two heads and a proof of any two branches: evidence comes out
// exactly where the heads exclude each other and the proof shows it.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 40).Draw(t, "size")
		fork := rapid.Int64Range(0, size).Draw(t, "fork")
		l := newTestLog(size, fork)
		m := rapid.Int64Range(1, size).Draw(t, "m")
		n := rapid.Int64Range(m, size).Draw(t, "n")
		x, y := rapid.IntRange(0, 1).Draw(t, "x"), rapid.IntRange(0, 1).Draw(t, "y")
		a, b := l.note(x, m), l.note(y, n)
		if rapid.Bool().Draw(t, "swap") {
			a, b = b, a
		}
		e, err := New(l.key, a, b, l.proof(y, m, n))
		excluded := x != y && m > fork
		shown := m == n || m&(m-1) != 0
		if (err == nil) != (excluded && shown) {
			t.Fatalf("excluded %v, shown %v: %v %v", excluded, shown, e, err)
		}
		if err != nil {
			return
		}
		again, err := Parse(e.Bytes())
		if err != nil || again.String() != e.String() {
			t.Fatalf("%v %v", again, err)
		}
	})
}

// FuzzParse also has files whose last line is right, which no fuzzer finds.
func FuzzParse(f *testing.F) {
	keys := make(map[string]map[string]bool) // of a key, the texts of notes it has signed
	for _, e := range all(f) {
		f.Add(e.Bytes())
		for i := range e.form().sides {
			k := e.keys[min(i, e.form().keys-1)].String()
			if keys[k] == nil {
				keys[k] = make(map[string]bool)
			}
			keys[k][e.heads[i].Text()] = true
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, file := range [][]byte{file, resum(file)} {
			e, err := Parse(file)
			if err != nil {
				if !errors.Is(err, ErrNotProven) {
					t.Errorf("%v", err)
				}
				continue
			}
			if !bytes.Equal(e.Bytes(), file) {
				t.Errorf("accepted %q as %q", file, e.Bytes())
			}
			for i := range e.form().sides {
				texts := keys[e.keys[min(i, e.form().keys-1)].String()]
				if texts != nil && !texts[e.heads[i].Text()] {
					t.Errorf("forged %v", e)
				}
			}
		}
	})
}
