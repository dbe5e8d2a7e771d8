// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/testauthority"
)

// A memory holds the stored hashes of an authority's tree.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = m[x]
	}
	return out, nil
}

func stored(t testing.TB, a *testauthority.Authority) memory {
	var m memory
	for i := range a.Size() {
		h, err := tlog.StoredHashes(i, a.Entry(i), m)
		if err != nil {
			t.Fatal(err)
		}
		m = append(m, h...)
	}
	return m
}

// make returns the bundle of entries under a note of size n.
func makeBundle(t testing.TB, a *testauthority.Authority, note checkpoint.Note, n int64, entries ...int64) *Bundle {
	t.Helper()
	var records []Record
	for _, i := range entries {
		records = append(records, Record{i, a.Entry(i)})
	}
	records, p, err := Prove(n, records, stored(t, a))
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(a.Key(), note, records, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// examples are bundles of all forms.
func examples(t testing.TB) (a *testauthority.Authority, files map[string][]byte) {
	a = testauthority.New(testauthority.Config{Sizes: []int64{11, 20}})
	plain := makeBundle(t, a, a.Checkpoint(11), 11, 10, 3, 4)
	head := makeBundle(t, a, a.TreeHead(11), 11, 0)
	anchored, err := plain.Reanchor(a.Checkpoint(20), a.Consistency(11, 20))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int64, 11)
	for i := range all {
		all[i] = int64(i)
	}
	return a, map[string][]byte{
		"plain":     plain.Bytes(),
		"tree head": head.Bytes(),
		"anchored":  anchored.Bytes(),
		"cosigned":  makeBundle(t, a, a.Cosigned(20, testauthority.Time, 0, 1), 20, 1, 2).Bytes(),
		"none":      makeBundle(t, a, a.Checkpoint(11), 11).Bytes(),
		"all":       makeBundle(t, a, a.Checkpoint(11), 11, all...).Bytes(),
	}
}

func TestParse(t *testing.T) {
	a, files := examples(t)
	for name, file := range files {
		b, err := Parse(file)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, file)
			continue
		}
		for _, r := range b.Records() {
			m := a.Module(r.Index).Version()
			if e, ok := b.Find(m.Path, m.Version); !ok || e.Index != r.Index {
				t.Errorf("%s: %v is not found", name, m)
			}
		}
		if _, ok := b.Find("example.com/none", "v1.0.0"); ok {
			t.Errorf("%s: finds what it has not", name)
		}
	}
	b, _ := Parse(files["anchored"])
	if b.First().Size != 11 || b.Newest().Size != 20 {
		t.Errorf("anchored: sizes %d and %d", b.First().Size, b.Newest().Size)
	}
}

// repair writes the digest anew.
func repair(file []byte) []byte {
	i := bytes.LastIndexByte(bytes.TrimSuffix(file, []byte("\n")), '\n') + 1
	return fmt.Appendf(slices.Clone(file[:i]), "%x\n", sha256.Sum256(file[:i]))
}

// No byte of a file can be changed, and, but in what others have signed, none even
// by who computes the digest again.
func TestEveryByte(t *testing.T) {
	_, files := examples(t)
	for name, file := range files {
		body := len(file) - 65
		for i := range file {
			for _, bit := range []byte{1, 2, 0x20, 0x80} {
				bad := bytes.Clone(file)
				bad[i] ^= bit
				if _, err := Parse(bad); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: byte %d, %q for %q: %v", name, i, bad[i], file[i], err)
				}
				if i >= body || name == "cosigned" || bit > 1 {
					continue
				}
				if _, err := Parse(repair(bad)); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: with the digest repaired: byte %d, %q for %q: %v", name, i, bad[i], file[i], err)
				}
			}
		}
	}
}

func TestInvalid(t *testing.T) {
	_, files := examples(t)
	good, anchored := string(files["plain"]), string(files["anchored"])
	parts, long := strings.Split(good, "\n\n"), strings.Split(anchored, "\n\n")
	join := func(p []string, i int, with ...string) string {
		p = slices.Clone(p)
		return strings.Join(slices.Replace(p, i, i+1, with...), "\n\n")
	}
	lines := strings.Split(parts[3], "\n")
	cases := map[string]string{
		"empty":             "",
		"other version":     strings.Replace(good, "bundle v1", "bundle v2", 1),
		"no key":            strings.Replace(good, "log ", "key ", 1),
		"bad key":           strings.Replace(good, "log sum", "log bum", 1),
		"five parts":        join(parts, 4),
		"ten parts":         join(long, 5, long[5], "x"),
		"count":             strings.Replace(good, "records 3", "records 03", 1),
		"more":              strings.Replace(good, "records 3", "records 4", 1),
		"vast":              strings.Replace(good, "records 3", "records 4294967299", 1),
		"negative":          strings.Replace(good, "records 3", "records -3", 1),
		"order":             join(parts, 3, strings.Join(slices.Concat(lines[:1], lines[4:7], lines[1:4], lines[7:]), "\n")),
		"twice":             join(parts, 3, strings.Join(slices.Concat([]string{"records 4"}, lines[1:4], lines[1:]), "\n")),
		"index":             strings.Replace(good, "\n3\n", "\n5\n", 1),
		"index zero":        strings.Replace(good, "\n3\n", "\n03\n", 1),
		"index vast":        strings.Replace(good, "\n3\n", "\n9223372036854775808\n", 1),
		"index outside":     strings.Replace(good, "\n10\n", "\n11\n", 1),
		"record":            strings.Replace(good, " v1.1.0 ", " v1.1.1 ", 1),
		"hash count":        strings.Replace(good, "\nproof ", "\nproof 1", 1),
		"hash":              join(parts, 4, "proof 1\nAAAA"),
		"no consistency":    join(long, 5, "consistency 0"),
		"anchored at older": join(long, 6, parts[1]),
		"digest":            good[:len(good)-65] + strings.ToUpper(good[len(good)-65:]),
		"more after it":     good + "\n",
		"no newline":        strings.TrimSuffix(good, "\n"),
		"long":              good + strings.Repeat("x", MaxFile),
	}
	for name, file := range cases {
		if file == good || file == anchored {
			t.Errorf("%s: changes nothing", name)
		}
		if _, err := Parse([]byte(file)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		} else if name == "long" && !strings.Contains(err.Error(), fmt.Sprint("more than ", MaxFile)) {
			t.Errorf("%s: it was read all the same: %v", name, err)
		}
		switch name {
		case "digest", "more after it", "no newline", "empty", "long":
			continue // a repair would make them good
		}
		if _, err := Parse(repair([]byte(file))); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s, with its digest: %v", name, err)
		}
	}
}

func TestInvalidParts(t *testing.T) {
	a, files := examples(t)
	b, err := Parse(files["plain"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Reanchor(a.Fork(5).Checkpoint(20), a.Consistency(11, 20)); !errors.Is(err, ErrInvalid) {
		t.Errorf("anchored at a fork: %v", err)
	}
	if _, err := b.Reanchor(a.Checkpoint(11), nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("anchored at itself: %v", err)
	}
	if _, err := New(a.Key(), a.Checkpoint(11), b.records, b.proof); err != nil {
		t.Fatal(err)
	}
	if _, err := New(a.Key(), a.Sign("other.example\n11\n"+a.Tree(11).Hash.String()+"\n"), b.records, b.proof); !errors.Is(err, ErrInvalid) {
		t.Errorf("other origin: %v", err)
	}
}

// Two records of one version are not for a bundle: which one would it be?
func TestTwoRecords(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{11}})
	a.Break(testauthority.Conflict)
	var twice []Record
	for i := range a.Size() {
		if a.Module(i).Version() == a.Module(testauthority.Victim).Version() {
			twice = append(twice, Record{i, a.Entry(i)})
		}
	}
	if len(twice) != 2 {
		t.Fatalf("%d records", len(twice))
	}
	records, p, err := Prove(a.Size(), twice, stored(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(a.Key(), a.Checkpoint(a.Size()), records, p); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// Five hundred modules: as the go.sum of a large program has them.
func TestSize(t *testing.T) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{5000}, Witnesses: -1})
	random := rand.New(rand.NewPCG(1, 2))
	entries := random.Perm(5000)[:500]
	var is []int64
	single := 0
	for _, i := range entries {
		is = append(is, int64(i))
		single += len(a.Inclusion(int64(i), 5000))
	}
	b := makeBundle(t, a, a.Checkpoint(5000), 5000, is...)
	t.Logf("%d bytes, %d hashes, %d in proofs of their own", len(b.Bytes()), b.Hashes(), single)
	if b.Hashes()*4 > single*3 {
		t.Errorf("%d hashes, and %d in proofs of their own", b.Hashes(), single)
	}
}

func FuzzParse(f *testing.F) {
	_, files := examples(f)
	for _, file := range files {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		// A fuzzer finds no digests.
		for _, file := range [][]byte{file, repair(append(bytes.TrimSuffix(file, []byte("\n")), '\n'))} {
			b, err := Parse(file)
			if err == nil && !bytes.Equal(b.Bytes(), file) {
				t.Fatal("two encodings of one bundle")
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	a := testauthority.New(testauthority.Config{Sizes: []int64{5000}, Witnesses: -1})
	var is []int64
	for i := range int64(500) {
		is = append(is, i*9)
	}
	file := makeBundle(b, a, a.Checkpoint(5000), 5000, is...).Bytes()
	for b.Loop() {
		if _, err := Parse(file); err != nil {
			b.Fatal(err)
		}
	}
}
