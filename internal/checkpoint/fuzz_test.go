// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// FuzzParseNote compares with golang.org/x/mod/sumdb/note, from which this
// package may differ only in refusing second encodings of a signature and bad
// repetitions of a good one.
func FuzzParseNote(f *testing.F) {
	const text = "log.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	a, b := newTextSigner(f, "a.example"), newTextSigner(f, "b.example")
	for _, sigs := range [][]Signature{
		{a.sign(text)},
		{a.sign(text), b.sign(text)},
		{a.sign(text), a.sign("x\n")},
		{a.sign("x\n")},
		{b.sign(text)},
	} {
		f.Add(Note{text, sigs}.Bytes())
	}
	for _, msg := range []string{specNote, specPoem, specCosigned, "a\n\n— a AAAAAAB=\n", "a\n\n\n— a AAAAAAA=\n", "\n\n— a AAAAAAA=\n"} {
		f.Add([]byte(msg))
	}
	verifier, err := note.NewVerifier(a.key.String())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		theirs, theirErr := note.Open(msg, note.VerifierList(verifier))
		var unverified *note.UnverifiedNoteError
		if errors.As(theirErr, &unverified) {
			theirs = unverified.Note
		}
		var invalid *note.InvalidSignatureError
		isInvalid := errors.As(theirErr, &invalid)

		n, err := ParseNote(msg)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			if theirs != nil && len(msg) <= MaxNote && canonical(theirs) {
				t.Fatalf("refused with %v, and theirs takes it", err)
			}
			return
		}
		if string(n.Bytes()) != string(msg) {
			t.Fatalf("%q became %q", msg, n.Bytes())
		}
		if theirs == nil && !isInvalid {
			t.Fatalf("taken, and theirs says %v", theirErr)
		}
		if theirs != nil && theirs.Text != n.Text {
			t.Fatalf("text %q, theirs %q", n.Text, theirs.Text)
		}
		_, err = n.Verify(a.key)
		switch {
		case err == nil && theirErr != nil,
			errors.Is(err, ErrUnsigned) && unverified == nil,
			errors.Is(err, ErrBadSignature) && !isInvalid && !(theirErr == nil && repeated(n, a.key)):
			t.Fatalf("verified: %v, theirs: %v", err, theirErr)
		}
	})
}

// canonical reports whether all signatures that the other parser took are
// encoded in the one strict way.
func canonical(n *note.Note) bool {
	for _, s := range append(n.Sigs, n.UnverifiedSigs...) {
		raw, err := base64.StdEncoding.Strict().DecodeString(s.Base64)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != s.Base64 {
			return false
		}
	}
	return true
}

func repeated(n Note, k *Key) bool {
	count := 0
	for _, s := range n.Signatures {
		if s.Name == k.Name() && s.ID == k.ID() {
			count++
		}
	}
	return count > 1
}

func FuzzParseSignature(f *testing.F) {
	for line := range strings.Lines(specNote + specCosigned) {
		f.Add(strings.TrimSuffix(line, "\n"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := ParseSignature(line)
		if err == nil && s.String() != line+"\n" {
			t.Errorf("%q became %q", line, s)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(strings.SplitAfter(specCosigned, "\n\n")[0])
	f.Add("a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Add("a\n9223372036854775807\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err == nil && c.Text() != text {
			t.Errorf("%q became %q", text, c.Text())
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(specKey)
	for _, alg := range algorithms {
		f.Add(newCosigner(f, "w.example", alg).Key().String())
	}
	f.Fuzz(func(t *testing.T, vkey string) {
		k, err := ParseKey(vkey)
		if err == nil && k.String() != vkey {
			t.Errorf("%q became %q", vkey, k)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if err != nil {
			return
		}
		if v, err := note.NewVerifier(vkey); k.Algorithm() == Ed25519 && (err != nil || v.KeyHash() != k.ID() || v.Name() != k.Name()) {
			t.Errorf("theirs: %v, %v", v, err)
		}
	})
}

func FuzzParseAddRequest(f *testing.F) {
	f.Add([]byte(specRequest))
	f.Add([]byte("old 0\n\n" + specNote))
	f.Add([]byte(specSubtreeRequest))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseAddRequest(body)
		if err == nil && string(r.Bytes()) != string(body) {
			t.Errorf("%q became %q", body, r.Bytes())
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

func FuzzParseSubtreeRequest(f *testing.F) {
	f.Add([]byte(specSubtreeRequest))
	f.Add([]byte("subtree 0 1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n" + specCosigned))
	f.Add([]byte(specRequest))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseSubtreeRequest(body)
		if err == nil && string(r.Bytes()) != string(body) {
			t.Errorf("%q became %q", body, r.Bytes())
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}
