// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogproof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/policy"
)

// A signed is a log of n entries, "entry 0" and on, and its checkpoint, signed and
// cosigned.
type signed struct {
	key    *checkpoint.Key
	pol    *policy.Policy
	hashes []tlog.Hash
	note   checkpoint.Note
}

func (s *signed) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = s.hashes[x]
	}
	return out, nil
}

func entry(i int64) []byte { return fmt.Appendf(nil, "entry %d\n", i) }

func newSigned(t testing.TB, name string, n int64) *signed {
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	s := new(signed)
	for i := range n {
		h, err := tlog.StoredHashes(i, entry(i), s)
		must(err)
		s.hashes = append(s.hashes, h...)
	}
	root, err := tlog.TreeHash(n, s)
	must(err)
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	s.key, err = checkpoint.NewKey(name, checkpoint.Ed25519, private.Public().(ed25519.PublicKey))
	must(err)
	seed[0]++
	cosigner, err := checkpoint.NewCosigner("w."+name, ed25519.NewKeyFromSeed(seed[:]))
	must(err)
	c := checkpoint.Checkpoint{Origin: name, Size: n, Root: root}
	s.note = checkpoint.Note{Text: c.Text(), Signatures: []checkpoint.Signature{
		{Name: name, ID: s.key.ID(), Bytes: ed25519.Sign(private, []byte(c.Text()))},
	}}
	cosig, err := cosigner.Cosign(c, 1_700_000_000)
	must(err)
	s.note.Signatures = append(s.note.Signatures, cosig)
	s.pol, err = policy.Parse(fmt.Appendf(nil, "log %v\nwitness w %v\nquorum w\n", s.key, cosigner.Key()))
	must(err)
	return s
}

func (s *signed) prove(t testing.TB, i int64) Proof {
	c, err := checkpoint.Parse(s.note.Text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tlog.ProveRecord(c.Size, i, s)
	if err != nil {
		t.Fatal(err)
	}
	return Proof{Index: i, Hashes: p, Checkpoint: s.note}
}

func TestProof(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 7, 8, 300} {
		s := newSigned(t, "log.example.org", n)
		for i := range n {
			file := s.prove(t, i).Bytes()
			p, err := Parse(file)
			if err != nil {
				t.Fatalf("%d of %d: %v\n%s", i, n, err, file)
			}
			r, err := p.Verify(s.pol, tlog.RecordHash(entry(i)))
			if err != nil || len(r.Cosignatures) != 1 {
				t.Fatalf("%d of %d: %+v, %v", i, n, r, err)
			}
			if _, err := p.Verify(s.pol, tlog.RecordHash(entry(i+1))); !errors.Is(err, ErrNotIncluded) {
				t.Fatalf("%d of %d: another leaf: %v", i, n, err)
			}
		}
	}
}

// x/mod and C2SP mean the same by a proof.
func TestAgreesWithTlog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s signed
		n := rapid.Int64Range(1, 40).Draw(t, "n")
		for i := range n {
			h, _ := tlog.StoredHashes(i, entry(i), &s)
			s.hashes = append(s.hashes, h...)
		}
		root, _ := tlog.TreeHash(n, &s)
		i := rapid.Int64Range(0, n-1).Draw(t, "i")
		hashes, _ := tlog.ProveRecord(n, i, &s)
		at := rapid.Int64Range(0, n).Draw(t, "at")
		leaf := tlog.RecordHash(entry(rapid.Int64Range(0, n).Draw(t, "leaf")))
		size := rapid.Int64Range(1, 41).Draw(t, "size")
		want := at < size && tlog.CheckRecord(hashes, size, root, at, leaf) == nil
		err := Proof{Index: at, Hashes: hashes}.Includes(tlog.Tree{N: size, Hash: root}, leaf)
		if (err == nil) != want {
			t.Fatalf("%v, where x/mod says %v", err, want)
		}
	})
}

func TestNegative(t *testing.T) {
	s := newSigned(t, "log.example.org", 1)
	p := s.prove(t, 0)
	p.Index = -1
	if _, err := p.Verify(s.pol, tlog.RecordHash(entry(0))); !errors.Is(err, ErrNotIncluded) {
		t.Error(err)
	}
}

func TestPolicy(t *testing.T) {
	s, other := newSigned(t, "log.example.org", 5), newSigned(t, "other.example.org", 5)
	p := s.prove(t, 3)
	leaf := tlog.RecordHash(entry(3))
	if _, err := p.Verify(other.pol, leaf); !errors.Is(err, checkpoint.ErrUnsigned) {
		t.Errorf("another log's policy: %v", err)
	}
	p.Checkpoint.Signatures = p.Checkpoint.Signatures[:1]
	if _, err := p.Verify(s.pol, leaf); !errors.Is(err, policy.ErrQuorum) {
		t.Errorf("no cosignature: %v", err)
	}
	p.Checkpoint.Signatures = s.note.Signatures[1:]
	if _, err := p.Verify(s.pol, leaf); !errors.Is(err, checkpoint.ErrUnsigned) {
		t.Errorf("no signature of the log: %v", err)
	}
}

// No byte of a file is without meaning: a change makes it fail, or is in the
// signature of somebody the policy does not know, which there is none of here.
func TestEveryByte(t *testing.T) {
	s := newSigned(t, "log.example.org", 11)
	file, leaf := s.prove(t, 10).Bytes(), tlog.RecordHash(entry(10))
	for i := range file {
		for _, bit := range []byte{1, 0x20, 0x80} {
			bad := bytes.Clone(file)
			bad[i] ^= bit
			p, err := Parse(bad)
			if err == nil {
				_, err = p.Verify(s.pol, leaf)
			}
			if err == nil {
				t.Errorf("byte %d, %q for %q, verifies", i, bad[i], file[i])
			}
		}
	}
}

func TestParse(t *testing.T) {
	s := newSigned(t, "log.example.org", 3)
	p := s.prove(t, 1)
	good := string(p.Bytes())
	extra := p
	extra.Extra = []byte("some\ndata")
	if q, err := Parse(extra.Bytes()); err != nil || string(q.Extra) != "some\ndata" {
		t.Errorf("extra data: %q, %v", q.Extra, err)
	}
	hash := p.Hashes[0].String()
	for name, file := range map[string]string{
		"empty":              "",
		"header only":        header,
		"other version":      strings.Replace(good, "@v1", "@v2", 1),
		"no index":           strings.Replace(good, "index 1\n", "", 1),
		"zero first":         strings.Replace(good, "index 1\n", "index 01\n", 1),
		"plus":               strings.Replace(good, "index 1\n", "index +1\n", 1),
		"negative":           strings.Replace(good, "index 1\n", "index -1\n", 1),
		"too large":          strings.Replace(good, "index 1\n", "index 9223372036854775808\n", 1),
		"CRLF":               strings.Replace(good, "index 1\n", "index 1\r\n", 1),
		"CR in hash":         strings.Replace(good, hash, hash+"\r", 1),
		"short hash":         strings.Replace(good, hash, base64.StdEncoding.EncodeToString(make([]byte, 31)), 1),
		"loose base64":       strings.Replace(good, hash, looser(hash), 1),
		"empty extra":        strings.Replace(good, "index", "extra \nindex", 1),
		"extra twice":        strings.Replace(good, "index", "extra AA==\nextra AA==\nindex", 1),
		"extra loose":        strings.Replace(good, "index", "extra AB==\nindex", 1),
		"extra without more": header + "extra AA==\n\n" + string(s.note.Bytes()),
		"extra after index":  strings.Replace(good, "index 1\n", "index 1\nextra AA==\n", 1),
		"extra too long":     strings.Replace(good, "index", "extra "+strings.Repeat("AAAA", MaxExtra/3+1)+"\nindex", 1),
		"64 hashes":          strings.Replace(good, hash, strings.Repeat(hash+"\n", 63)+hash, 1),
		"no note":            strings.SplitAfter(good, "\n\n")[0],
		"note unsigned":      strings.Join(strings.SplitAfter(good, "\n\n")[:2], ""),
		"more after it":      good + "\n",
		"no last newline":    strings.TrimSuffix(good, "\n"),
		"too long":           good + strings.Repeat(" ", MaxFile),
	} {
		if file == good {
			t.Errorf("%s: changes nothing", name)
		}
		if _, err := Parse([]byte(file)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		} else if name == "too long" && !strings.Contains(err.Error(), fmt.Sprint("more than ", MaxFile)) {
			t.Errorf("%s: it was read all the same: %v", name, err)
		}
	}
}

// looser spells the last bits of a hash another way.
func looser(hash string) string {
	i := len(hash) - 2
	return hash[:i] + string("BFJNRVZdhlptx159"[len(hash)%16]) + hash[i+1:]
}

// A file of the form that the specification shows, its signatures being x/mod's.
func TestForeignNote(t *testing.T) {
	private, vkey, err := note.GenerateKey(rand.Reader, "example.com/fancylog")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	leaf := tlog.RecordHash([]byte("only"))
	msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("example.com/fancylog\n1\n%v\n", leaf)}, signer)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse([]byte(header + "extra YWdl\nindex 0\n\n" + string(msg)))
	if err != nil {
		t.Fatal(err)
	}
	pol, err := policy.Parse([]byte("log " + vkey + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(pol, leaf); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	s := newSigned(f, "log.example.org", 9)
	p := s.prove(f, 8)
	f.Add(p.Bytes())
	p.Extra = []byte{0, 1, 2, 3}
	f.Add(p.Bytes())
	f.Add([]byte(header + "index 0\n\n"))
	leaf := tlog.RecordHash(entry(8))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := Parse(file)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Bytes(), file) {
			t.Fatal("two encodings of one proof")
		}
		if r, err := p.Verify(s.pol, leaf); err == nil && (p.Index != 8 || r.Checkpoint.Size != 9) {
			t.Fatalf("verifies: %+v", p)
		}
	})
}
