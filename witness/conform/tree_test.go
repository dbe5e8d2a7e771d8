// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"math/big"
	"math/bits"
	"strconv"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// entry is an entry of a tree.
func (t tree) leaf(i int64) tlog.Hash {
	if t.forked && i == t.at {
		return t.entry
	}
	return perfect()[0][bits.OnesCount64(uint64(i))&1]
}

// brute is the root as RFC 6962 defines it.
func (t tree) brute(lo, hi int64) tlog.Hash {
	if hi-lo == 1 {
		return t.leaf(lo)
	}
	k := int64(1)
	for 2*k < hi-lo {
		k *= 2
	}
	return tlog.NodeHash(t.brute(lo, lo+k), t.brute(lo+k, hi))
}

func TestTree(t *testing.T) {
	for n := int64(1); n < 140; n++ {
		for _, tr := range []tree{{}, tree{}.fork(n/2, 0), tree{}.fork(n-1, 7), tree{}.fork(n, 1)} {
			if got, want := tr.root(n), tr.brute(0, n); got != want {
				t.Fatalf("root(%d) of %v: %v, want %v", n, tr, got, want)
			}
		}
	}
	if (tree{}).fork(3, 0).root(9) == (tree{}).fork(3, 1).root(9) || (tree{}).fork(3, 0).root(9) == (tree{}).root(9) || (tree{}).fork(3, 0).root(3) != (tree{}).root(3) {
		t.Error("forks differ in one entry, each in its own way")
	}
}

// Proofs of any size are those that others verify.
func TestTreeProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, maxSize).Draw(t, "size") >> rapid.IntRange(0, 60).Draw(t, "shift")
		size = max(size, 1)
		old := rapid.Int64Range(1, size).Draw(t, "old")
		tr := tree{}
		if rapid.Bool().Draw(t, "forked") {
			tr = tr.fork(rapid.Int64Range(0, size).Draw(t, "at"), 0)
		}
		var p [][]byte
		for _, h := range tr.proof(old, size) {
			p = append(p, h[:])
		}
		r1, r2 := tr.root(old), tr.root(size)
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old), uint64(size), p, r1[:], r2[:]); err != nil {
			t.Fatalf("%d to %d: %v", old, size, err)
		}
		for _, b := range ranges(max(size, minSize)) {
			n := max(size, minSize)
			q := checkpoint.SubtreeRequest{Start: b[0], End: b[1], Hash: tr.hash(b[0], b[1]), Proof: tr.subproof(b[0], b[1], n)}
			if err := checkpoint.CheckSubtree(q, checkpoint.Checkpoint{Size: n, Root: tr.root(n)}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWrap(t *testing.T) {
	for _, n := range []int64{0, 1, 999999999, 1000000000, 290448383, 290448384, 1 << 60} {
		want := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(n)).String()
		if got := wrap(n); got != want || wrapped(got) != strconv.FormatInt(n, 10) {
			t.Errorf("wrap(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestParseLogKey(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, "log.example/a")
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseLogKey(skey + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if k.Key().String() != vkey {
		t.Errorf("%v, want %s", k.Key(), vkey)
	}
	if sig := k.sign("text\n"); !k.key.Verify("text\n", sig.Bytes) {
		t.Error("signature does not verify")
	}
	for _, bad := range []string{"", vkey, skey[1:], skey[:len(skey)-4], skey[:len(skey)-44] + skey[len(skey)-40:], "PRIVATE+KEY+a b+00000000+" + skey[len(skey)-44:]} {
		if k, err := ParseLogKey(bad); err == nil {
			t.Errorf("ParseLogKey(%q) = %v", bad, k.Key())
		}
	}
}

func FuzzParseLogKey(f *testing.F) {
	skey, _, err := note.GenerateKey(nil, "log.example/a")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(skey)
	f.Add("PRIVATE+KEY+a+00000000+AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseLogKey(s); err == nil && k.sign("x\n").Name != k.origin() {
			t.Error("another name")
		}
	})
}

// An answer is read in one way or not at all.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("— witness.example/w AAAAAQAA\n"), 200)
	f.Add([]byte("12\n"), 409)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		a := answer{status: status, body: body}
		if sigs, err := cosignatures(a); err == nil {
			again := ""
			for _, s := range sigs {
				again += s.String()
			}
			if again != string(body) {
				t.Errorf("%q was read as %q", body, again)
			}
		}
		if n, err := conflictSize(a); err == nil && n < 0 {
			t.Errorf("size %d", n)
		}
		_ = oneLine(a.String())
	})
}
