// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package policy

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
)

// files returns the test vectors of a directory.
func files(t testing.TB, dir string) map[string]string {
	names, err := filepath.Glob("testdata/" + dir + "/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors in %s: %v", dir, err)
	}
	out := make(map[string]string)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = string(b)
	}
	return out
}

// format writes a policy in its plainest form.
func format(p *Policy) string {
	var b strings.Builder
	for _, l := range p.Logs {
		fmt.Fprintln(&b, "log", l.Key, l.URL)
	}
	for _, w := range p.Witnesses {
		fmt.Fprintln(&b, "witness", w.Name, w.Key, w.URL)
	}
	for _, g := range p.Groups {
		fmt.Fprintln(&b, "group", g.Name, g.K, strings.Join(g.Members, " "))
	}
	fmt.Fprintln(&b, "quorum", p.Quorum)
	return b.String()
}

// Each good vector says in "# met:" and "# unmet:" lines which sets of
// witnesses are enough.
func TestGood(t *testing.T) {
	for name, file := range files(t, "good") {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(file))
			if err != nil {
				t.Fatal(err)
			}
			checked := 0
			for line := range strings.Lines(file) {
				rest, met := strings.CutPrefix(line, "# met:")
				if !met {
					var ok bool
					if rest, ok = strings.CutPrefix(line, "# unmet:"); !ok {
						continue
					}
				}
				checked++
				set := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\n' })
				for _, w := range set {
					if !slices.ContainsFunc(p.Witnesses, func(x Witness) bool { return x.Name == w }) {
						t.Fatalf("%q is no witness", w)
					}
				}
				if got := p.Met(func(w string) bool { return slices.Contains(set, w) }); got != met {
					t.Errorf("cosigned by %q: met = %v", set, got)
				}
			}
			if checked == 0 {
				t.Error("the vector says nothing")
			}
			again, err := Parse([]byte(format(p)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(format(p), format(again)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Each bad vector says in its first line what is wrong.
func TestBad(t *testing.T) {
	for name, file := range files(t, "bad") {
		t.Run(name, func(t *testing.T) {
			line, _, _ := strings.Cut(file, "\n")
			want, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r"), "# error: ")
			if !ok {
				t.Fatal("the vector says nothing")
			}
			if p, err := Parse([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Parse = %v, %v, want %q", p, err, want)
			}
		})
	}
	if _, err := Parse(nil); err == nil || !strings.Contains(err.Error(), "no newline") {
		t.Errorf("empty file: %v", err)
	}
}

func TestParsed(t *testing.T) {
	p, err := Parse([]byte(files(t, "good")["mldsa.txt"]))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range p.Logs {
		got = append(got, l.Key.Name()+" "+l.Key.Algorithm().String()+" "+l.URL)
	}
	for _, w := range p.Witnesses {
		got = append(got, w.Name+" "+w.Key.Name()+" "+w.Key.Algorithm().String()+" "+w.URL)
	}
	got = append(got, fmt.Sprint(p.Groups, " ", p.Quorum))
	want := []string{
		"log.example/pq ML-DSA-44 cosignature ",
		"log.example/one Ed25519 ",
		"a witness.example/a Ed25519 cosignature ",
		"pq witness.example/a ML-DSA-44 cosignature https://pq.example/w",
		"[{both 2 [a pq]}] both",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every octet alone in a comment, as the section on the character set lists
// them.
func TestOctets(t *testing.T) {
	for c := range 256 {
		_, err := Parse([]byte("#" + string([]byte{byte(c)}) + "#\nquorum none\n"))
		allowed := c == 0x09 || c == 0x0a || 0x20 <= c && c <= 0x7e || 0x80 <= c
		if (err == nil) != allowed {
			t.Errorf("octet %#02x: %v", c, err)
		}
	}
}

// signer returns a key pair of Ed25519, or of ML-DSA-44 if pq, that is always
// the same.
func signer(seed string, pq bool) crypto.Signer {
	s := sha256.Sum256([]byte(seed))
	if !pq {
		return ed25519.NewKeyFromSeed(s[:])
	}
	sk, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), s[:])
	if err != nil {
		panic(err)
	}
	return sk
}

func cosigner(t testing.TB, name string, pq bool) *checkpoint.Cosigner {
	c, err := checkpoint.NewCosigner(name, signer(name, pq))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A testLog signs with type 0x01.
type testLog struct {
	key *checkpoint.Key
	sk  ed25519.PrivateKey
}

func newLog(t testing.TB, name, seed string) testLog {
	sk := signer(seed, false).(ed25519.PrivateKey)
	k, err := checkpoint.NewKey(name, checkpoint.Ed25519, sk.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return testLog{k, sk}
}

func (l testLog) sign(text string) checkpoint.Signature {
	return checkpoint.Signature{Name: l.key.Name(), ID: l.key.ID(), Bytes: ed25519.Sign(l.sk, []byte(text))}
}

func TestLimits(t *testing.T) {
	many := func(n int, line func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
		}
		return b.String() + "quorum none\n"
	}
	kinds := map[string]func(i int) string{
		"logs": func(i int) string { return fmt.Sprintf("log %v\n", newLog(t, "log.example", fmt.Sprint(i)).key) },
		"witnesses": func(i int) string {
			return fmt.Sprintf("witness w%d %v\n", i, cosigner(t, fmt.Sprintf("w.example/%d", i), false).Key())
		},
		"groups": func(i int) string {
			w := fmt.Sprintf("witness w%d %v\n", i/2, cosigner(t, fmt.Sprintf("w.example/%d", i/2), false).Key())
			if i%2 == 1 {
				return fmt.Sprintf("group g%d any g%d\n", i, i-1)
			}
			return w + fmt.Sprintf("group g%d any w%d\n", i, i/2)
		},
	}
	for kind, line := range kinds {
		if _, err := Parse([]byte(many(MaxEach, line))); err != nil {
			t.Errorf("%d %s: %v", MaxEach, kind, err)
		}
		if _, err := Parse([]byte(many(MaxEach+1, line))); err == nil || !strings.Contains(err.Error(), "more than 256 "+kind) {
			t.Errorf("%d %s: %v", MaxEach+1, kind, err)
		}
	}

	file := "quorum none\n" + strings.Repeat("#\n", MaxSize/2)
	if _, err := Parse([]byte(file[:MaxSize])); err != nil {
		t.Error(err)
	}
	if _, err := Parse([]byte(file)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%d bytes: %v", len(file), err)
	}
}

// tree is a tree of groups over witnesses.
type tree struct {
	name    string
	k       int // 0 of a witness
	members []*tree
}

func (n *tree) met(cosigned map[string]bool) bool {
	if n.k == 0 {
		return cosigned[n.name]
	}
	got := 0
	for _, m := range n.members {
		if m.met(cosigned) {
			got++
		}
	}
	return got >= n.k
}

// A random forest, with what is in no group or above the quorum too, gives for
// every set of witnesses what a plain recursion gives.
func TestMetProperty(t *testing.T) {
	var keys []*checkpoint.Key
	for i := range 6 {
		keys = append(keys, cosigner(t, fmt.Sprintf("w.example/%d", i), i%2 == 1).Key())
	}
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		var all, free []*tree
		for i := range rapid.IntRange(1, len(keys)).Draw(t, "witnesses") {
			n := &tree{name: fmt.Sprint(i)}
			fmt.Fprintln(&b, "witness", n.name, keys[i])
			all, free = append(all, n), append(free, n)
		}
		witnesses := len(all)
		for i := range rapid.IntRange(0, 5).Draw(t, "groups") {
			perm := rapid.Permutation(free).Draw(t, "members")
			n := &tree{name: fmt.Sprintf("g%d", i), members: perm[:rapid.IntRange(1, len(perm)).Draw(t, "n")]}
			free = append(perm[len(n.members):], n)
			all = append(all, n)
			n.k = rapid.IntRange(1, len(n.members)).Draw(t, "k")
			k := []string{fmt.Sprint(n.k)}
			if n.k == 1 {
				k = append(k, "any")
			}
			if n.k == len(n.members) {
				k = append(k, "all")
			}
			fmt.Fprint(&b, "group ", n.name, " ", rapid.SampledFrom(k).Draw(t, "word"))
			for _, m := range n.members {
				fmt.Fprint(&b, " ", m.name)
			}
			fmt.Fprintln(&b)
		}
		quorum := rapid.SampledFrom(all).Draw(t, "quorum")
		fmt.Fprintln(&b, "quorum", quorum.name)
		p, err := Parse([]byte(b.String()))
		if err != nil {
			t.Fatalf("%v:\n%s", err, b.String())
		}
		for set := range 1 << witnesses {
			cosigned := make(map[string]bool)
			for i := range witnesses {
				cosigned[fmt.Sprint(i)] = set>>i&1 == 1
			}
			if got, want := p.Met(func(w string) bool { return cosigned[w] }), quorum.met(cosigned); got != want {
				t.Fatalf("cosigned by %v: met = %v, want %v:\n%s", cosigned, got, want, b.String())
			}
		}
	})
}

func TestCheck(t *testing.T) {
	log, other, stranger := newLog(t, "log.example", "l"), newLog(t, "other.example", "o"), newLog(t, "log.example", "s")
	a, b, pq := cosigner(t, "a.example", false), cosigner(t, "b.example", false), cosigner(t, "pq.example", true)
	outside := cosigner(t, "outside.example", false)
	p, err := Parse(fmt.Appendf(nil, "log %v\nlog %v\nwitness A %v\nwitness B %v\nwitness PQ %v\ngroup g 2 B PQ A\nquorum g\n",
		other.key, log.key, a.Key(), b.Key(), pq.Key()))
	if err != nil {
		t.Fatal(err)
	}
	cp := checkpoint.Checkpoint{Origin: "log.example", Size: 7, Root: tlog.Hash{1}}
	by := func(c *checkpoint.Cosigner, cp checkpoint.Checkpoint, time int64) checkpoint.Signature {
		s, err := c.Cosign(cp, time)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	subtree, err := pq.CosignSubtree(checkpoint.Subtree{Origin: cp.Origin, End: cp.Size, Hash: cp.Root})
	if err != nil {
		t.Fatal(err)
	}
	moved := cp
	moved.Size++
	rename := func(s checkpoint.Signature, k *checkpoint.Key) checkpoint.Signature {
		s.Name, s.ID = k.Name(), k.ID()
		return s
	}
	own := log.sign(cp.Text())
	foreign := cp
	foreign.Origin = "third.example"

	tests := []struct {
		name string
		cp   checkpoint.Checkpoint
		sigs []checkpoint.Signature
		got  string // of the cosignatures
		err  error
	}{
		{"two", cp, []checkpoint.Signature{own, by(pq, cp, 30), by(a, cp, 10)}, "A@10 PQ@30", nil},
		{"all, and one that is not listed", cp, []checkpoint.Signature{by(outside, cp, 1), by(b, cp, 20), own, by(pq, cp, 30), by(a, cp, 10)}, "A@10 B@20 PQ@30", nil},
		{"one", cp, []checkpoint.Signature{own, by(a, cp, 10)}, "A@10", ErrQuorum},
		{"none", cp, []checkpoint.Signature{own}, "", ErrQuorum},
		{"one twice", cp, []checkpoint.Signature{own, by(a, cp, 10), by(a, cp, 11)}, "A@10", ErrQuorum},
		{"without a time", cp, []checkpoint.Signature{own, by(a, cp, 10), subtree}, "A@10", ErrQuorum},
		{"not signed by the log", cp, []checkpoint.Signature{by(pq, cp, 30), by(a, cp, 10)}, "", checkpoint.ErrUnsigned},
		{"signed by a key that is not listed", cp, []checkpoint.Signature{stranger.sign(cp.Text()), by(pq, cp, 30), by(a, cp, 10)}, "", checkpoint.ErrUnsigned},
		{"signed by the other log", cp, []checkpoint.Signature{other.sign(cp.Text()), by(pq, cp, 30), by(a, cp, 10)}, "", checkpoint.ErrUnsigned},
		{"origin of no log", foreign, []checkpoint.Signature{log.sign(foreign.Text()), by(pq, foreign, 30), by(a, foreign, 10)}, "", checkpoint.ErrUnsigned},
		{"bad signature of the log", cp, []checkpoint.Signature{log.sign(moved.Text()), by(pq, cp, 30), by(a, cp, 10)}, "", checkpoint.ErrBadSignature},
		{"second signature of the log bad", cp, []checkpoint.Signature{own, log.sign(moved.Text()), by(pq, cp, 30), by(a, cp, 10)}, "", checkpoint.ErrBadSignature},
		{"cosignature of another tree", cp, []checkpoint.Signature{own, by(b, moved, 5), by(pq, cp, 30), by(a, cp, 10)}, "", checkpoint.ErrBadSignature},
		{"cosignature of another's", cp, []checkpoint.Signature{own, rename(by(a, cp, 10), b.Key()), by(a, cp, 10)}, "", checkpoint.ErrBadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := checkpoint.ParseNote(checkpoint.Note{Text: tt.cp.Text(), Signatures: tt.sigs}.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Check(n)
			if !errors.Is(err, tt.err) {
				t.Errorf("err = %v, want %v", err, tt.err)
			}
			var got []string
			for _, c := range r.Cosignatures {
				got = append(got, fmt.Sprintf("%s@%d", c.Witness, c.Time.Unix()))
			}
			if s := strings.Join(got, " "); s != tt.got {
				t.Errorf("cosigned %q, want %q", s, tt.got)
			}
			if err == nil && (r.Log.Key.String() != log.key.String() || r.Checkpoint.Tree() != cp.Tree()) {
				t.Errorf("log %v, checkpoint %v", r.Log.Key, r.Checkpoint)
			}
		})
	}
	if _, err := p.Check(checkpoint.Note{Text: "no checkpoint\n"}); !errors.Is(err, checkpoint.ErrMalformed) {
		t.Errorf("no checkpoint: %v", err)
	}
}

func TestFor(t *testing.T) {
	log, other := newLog(t, "log.example", "l"), newLog(t, "log.example", "o")
	note := checkpoint.Note{Text: checkpoint.Checkpoint{Origin: "log.example"}.Text()}
	note.Signatures = []checkpoint.Signature{log.sign(note.Text)}
	listed, err := Parse(fmt.Appendf(nil, "log %v\nlog %v https://log.example\nquorum none\n", other.key, log.key))
	if err != nil {
		t.Fatal(err)
	}
	unlisted, err := Parse([]byte("quorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unlisted.Check(note); !errors.Is(err, checkpoint.ErrUnsigned) {
		t.Errorf("policy without logs: %v", err)
	}
	for _, p := range []*Policy{listed, unlisted} {
		one, err := p.For(log.key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := one.Check(note)
		if err != nil || len(one.Logs) != 1 {
			t.Errorf("Check = %v, %v", r, err)
		}
		if p == listed && r.Log.URL != "https://log.example" {
			t.Errorf("URL %q", r.Log.URL)
		}
	}
	if _, err := listed.For(newLog(t, "log.example", "third").key); err == nil {
		t.Error("a log that is not listed was taken")
	}
}

// What parses means the same when it is written plainly.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		for _, file := range files(f, dir) {
			f.Add([]byte(file))
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := Parse(file)
		if err != nil {
			if p != nil || strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("%v, %q", p, err)
			}
			return
		}
		again, err := Parse([]byte(format(p)))
		if err != nil {
			t.Fatalf("%v:\n%s", err, format(p))
		}
		if format(again) != format(p) {
			t.Errorf("%s\nnot\n%s", format(again), format(p))
		}
		all := p.Met(func(string) bool { return true })
		none := p.Met(func(string) bool { return false })
		if !all || none != (p.Quorum == None) {
			t.Errorf("met by all: %v, by none: %v", all, none)
		}
		n := checkpoint.Note{Text: "a\n0\n" + tlog.Hash{}.String() + "\n"}
		n.Signatures = []checkpoint.Signature{{Name: "a", Bytes: []byte{1}}}
		if _, err := p.Check(n); err == nil {
			t.Error("a note that nobody signed is accepted")
		}
	})
}
