// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A textSigner signs texts with type 0x01.
type textSigner struct {
	key *Key
	sk  ed25519.PrivateKey
}

func newTextSigner(t testing.TB, name string) textSigner {
	seed := sha256.Sum256([]byte(name))
	sk := ed25519.NewKeyFromSeed(seed[:])
	k, err := NewKey(name, Ed25519, sk.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return textSigner{k, sk}
}

func (s textSigner) sign(text string) Signature {
	return Signature{s.key.name, s.key.id, ed25519.Sign(s.sk, []byte(text))}
}

func TestParseNoteMalformed(t *testing.T) {
	const line = "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
	mustNote(t, "a\n\n"+line)
	for _, msg := range []string{
		"",
		"\n",
		"\n\n",
		line,
		"\n" + line,
		"a\n",
		"a\n\n",
		"a\n\n\n",
		"a\n" + line,
		"a\n\n" + strings.TrimSuffix(line, "\n"),
		"a\n\n" + line + "\n",
		"a\n\n" + line + "b\n",
		"a\r\n\r\n" + line,
		"a\x00\n\n" + line,
		"a\t\n\n" + line,
		"\xff\n\n" + line,
		"a\n\n" + strings.Replace(line, "—", "–", 1),
		"a\n\n" + strings.Replace(line, "—", "-", 1),
		"a\n\n" + strings.Replace(line, "— ", "—\u00a0", 1),
		"a\n\n" + strings.Replace(line, "— ", "—", 1),
		"a\n\n" + strings.Replace(line, "foo ", "foo  ", 1),
		"a\n\n" + strings.Replace(line, "example.com/foo", "", 1),
		"a\n\n" + strings.Replace(line, "foo", "f+o", 1),
		"a\n\n" + strings.Replace(line, "foo", "f\u2003o", 1),
		"a\n\n" + strings.Replace(line, "aQM=", "aQM", 1),      // no padding
		"a\n\n" + strings.Replace(line, "aQM=", "aQN=", 1),     // a bit behind the end
		"a\n\n" + strings.Replace(line, "aQM=", "aQM= ", 1),    // a space behind
		"a\n\n" + strings.Replace(line, "aQM=", "aQM=aaaa", 1), // more behind the end
		"a\n\n— example.com/foo Uw2QOg==\n",                    // an ID and no signature
		"a\n\n— example.com/foo Uw2Q\n",
		"a\n\n— example.com/foo \n",
		"a\n\n— example.com/foo\n",
		"a\n\n" + strings.Repeat(line, MaxSignatures+1),
		strings.Repeat("a", MaxNote) + "\n\n" + line,
	} {
		if n, err := ParseNote([]byte(msg)); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseNote(%.60q… of %d bytes) = %d signatures, %v", msg, len(msg), len(n.Signatures), err)
		}
	}
}

func TestParseSignatureLineEnds(t *testing.T) {
	line := strings.TrimSuffix(newTextSigner(t, "a.example").sign("a\n").String(), "\n")
	for _, bad := range []string{line + "\n", line + "\r", line[:40] + "\n" + line[40:], line[:40] + "\r\n" + line[40:]} {
		if _, err := ParseSignature(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseSignature(%q): %v", bad, err)
		}
	}
}

func TestNames(t *testing.T) {
	pk := newTextSigner(t, "a").sk.Public().(ed25519.PublicKey)
	for _, name := range []string{"a", "example.com/log", "é", "a\u200bb", strings.Repeat("x", 300)} {
		k, err := NewKey(name, Ed25519, pk)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		} else if again := mustKey(t, k.String()); again.String() != k.String() {
			t.Errorf("%v became %v", k, again)
		}
	}
	for _, name := range []string{"", " ", "a b", "a+b", "a\nb", "a\tb", "a\u00a0b", "a\u2028", "a\x00", "a\x1b", "\xff"} {
		if _, err := NewKey(name, Ed25519, pk); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseKeyMalformed(t *testing.T) {
	for _, vkey := range []string{
		"",
		"example.com/foo",
		"example.com/foo+530d903a",
		"example.com/foo+530d903a+",
		"+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+30d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+0530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
		" example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k+",
		"example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
		"example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+/+kyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
		"example.com/foo+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
	} {
		if k, err := ParseKey(vkey); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseKey(%q) = %v, %v", vkey, k, err)
		}
	}
}

// Sixteen signatures, the least that a verifier must take, of the largest kind
// that the specification knows of, with the known one last.
func TestLargeNote(t *testing.T) {
	s := newTextSigner(t, "a.example")
	n := Note{Text: strings.Repeat("x", 1000) + "\n"}
	for i := range 15 {
		n.Signatures = append(n.Signatures, Signature{fmt.Sprintf("%s%d", strings.Repeat("x", 200), i), uint32(i), make([]byte, 5000)})
	}
	n.Signatures = append(n.Signatures, s.sign(n.Text))
	sigs, err := mustNote(t, string(n.Bytes())).Verify(s.key)
	if err != nil || len(sigs) != 1 {
		t.Errorf("%v, %v", sigs, err)
	}
}

func TestVerify(t *testing.T) {
	const text = "text\n"
	a, b := newTextSigner(t, "a.example"), newTextSigner(t, "b.example")
	good, bad := a.sign(text), a.sign("other\n")
	flipped := good
	flipped.Bytes = slices.Clone(good.Bytes)
	flipped.Bytes[63] ^= 0x80
	short, long := good, good
	short.Bytes, long.Bytes = good.Bytes[:63], append(slices.Clone(good.Bytes), 0)
	otherName, otherID := bad, bad
	otherName.Name = "c.example"
	otherID.ID++
	tests := []struct {
		name string
		sigs []Signature
		n    int
		err  error
	}{
		{"one", []Signature{good}, 1, nil},
		{"both", []Signature{b.sign(text), good}, 2, nil},
		{"repeated", []Signature{good, good}, 1, nil},
		{"none", []Signature{otherName, otherID}, 0, ErrUnsigned},
		{"unknown by name or ID beside", []Signature{otherName, otherID, good}, 1, nil},
		{"of another text", []Signature{bad}, 0, ErrBadSignature},
		{"flipped", []Signature{flipped}, 0, ErrBadSignature},
		{"short", []Signature{short}, 0, ErrBadSignature},
		{"long", []Signature{long}, 0, ErrBadSignature},
		{"bad after good", []Signature{good, bad}, 0, ErrBadSignature},
		{"bad after good of two", []Signature{good, b.sign(text), bad}, 0, ErrBadSignature},
		{"bad before good", []Signature{bad, good}, 0, ErrBadSignature},
		{"bad by one, good by the other", []Signature{b.sign(text), bad}, 0, ErrBadSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := mustNote(t, string(Note{text, tt.sigs}.Bytes()))
			got, err := n.Verify(a.key, b.key)
			if !errors.Is(err, tt.err) || len(got) != tt.n {
				t.Errorf("%d signatures, %v, want %d, %v", len(got), err, tt.n, tt.err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	root := tlog.Hash(sha256.Sum256(nil))
	for _, c := range []Checkpoint{
		{"a", 0, root, nil},
		{"go.sum database tree", 1, tlog.Hash{}, nil},
		{"a+b\u00a0c", math.MaxInt64, root, []string{"one", "  ", "—"}},
	} {
		got, err := Parse(c.Text())
		if err != nil || got.Text() != c.Text() || got.Tree() != c.Tree() || !slices.Equal(got.Extensions, c.Extensions) {
			t.Errorf("%q became %+v, %v", c.Text(), got, err)
		}
	}
	b64 := root.String()
	for _, text := range []string{
		"",
		"\n",
		"a\n1\n",
		"a\n1\n" + b64,
		"\n1\n" + b64 + "\n",
		"a\n\n" + b64 + "\n",
		"a\n1\n\n",
		"a\n1\n" + b64 + "\n\n",
		"a\n1\n" + b64 + "\n\nx\n",
		"a\n01\n" + b64 + "\n",
		"a\n00\n" + b64 + "\n",
		"a\n-0\n" + b64 + "\n",
		"a\n+1\n" + b64 + "\n",
		"a\n-1\n" + b64 + "\n",
		"a\n 1\n" + b64 + "\n",
		"a\n1 \n" + b64 + "\n",
		"a\n0x1\n" + b64 + "\n",
		"a\n1_0\n" + b64 + "\n",
		"a\n1e3\n" + b64 + "\n",
		"a\n٣\n" + b64 + "\n",
		"a\n9223372036854775808\n" + b64 + "\n",
		"a\n18446744073709551617\n" + b64 + "\n",
		"a\n1\n" + b64[:40] + "\n", // 30 bytes
		"a\n1\n" + strings.TrimSuffix(b64, "=") + "A" + "\n", // 33
		"a\n1\n" + strings.TrimSuffix(b64, "=") + "\n",
		"a\n1\n" + strings.Replace(b64, "U=", "V=", 1) + "\n", // a bit behind the end
		"a\n1\n" + b64 + " \n",
		"a\n1\n" + strings.ReplaceAll(b64, "/", "_") + "\n", // the URL's alphabet
	} {
		if c, err := Parse(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("Parse(%q) = %+v, %v", text, c, err)
		}
	}
}

func TestParseRequestsMalformed(t *testing.T) {
	hash := tlog.Hash{}.String() + "\n"
	for _, good := range []string{
		"old 0\n\n",
		"old 9223372036854775807\n" + strings.Repeat(hash, MaxProof) + "\nnote",
		"old 1\n\n\n\nnote",
	} {
		r, err := ParseAddRequest([]byte(good))
		if err != nil || string(r.Bytes()) != good {
			t.Errorf("ParseAddRequest(%.40q) = %+v, %v", good, r, err)
		}
	}
	for _, bad := range []string{
		"",
		"\n\n",
		"\n\nold 0\n\n",
		"old 0\n",
		"old 0\nnote\n",
		"old 0",
		"old\n\n",
		"old \n\n",
		"Old 0\n\n",
		"old  0\n\n",
		"old 0 \n\n",
		" old 0\n\n",
		"old 00\n\n",
		"old 013\n\n",
		"old -1\n\n",
		"old +1\n\n",
		"old 9223372036854775808\n\n",
		"old 0\r\n\r\n",
		"old 1\nAA==\n\n",
		"old 1\n" + strings.Replace(hash, "A=\n", "B=\n\n", 1),
		"old 1\n " + hash + "\n",
		"old 1\n" + strings.Repeat(hash, MaxProof+1) + "\nnote",
		"old 1\n" + strings.Repeat(hash, 10000) + "\nnote",
		"subtree 0 1\n" + hash + "\n",
		"old 0\n\n" + strings.Repeat("x", MaxRequest),
	} {
		if r, err := ParseAddRequest([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseAddRequest(%.60q) = %+v, %v", bad, r, err)
		}
	}
	for _, bad := range []string{
		"",
		"subtree 0 1\n\n",
		"subtree 0\n" + hash + "\n",
		"subtree 0 1 2\n" + hash + "\n",
		"subtree 0  1\n" + hash + "\n",
		"subtree 00 1\n" + hash + "\n",
		"subtree 0 01\n" + hash + "\n",
		"subtree -1 1\n" + hash + "\n",
		"subtree 0 9223372036854775808\n" + hash + "\n",
		"subtree 0 1\nAA==\n\n",
		"subtree 0 1\n" + strings.Repeat(hash, MaxProof+2) + "\n",
		"old 0\n" + hash + "\n",
	} {
		if r, err := ParseSubtreeRequest([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseSubtreeRequest(%.60q) = %+v, %v", bad, r, err)
		}
	}
	most := "subtree 0 1\n" + strings.Repeat(hash, MaxProof+1) + "\nnote"
	if r, err := ParseSubtreeRequest([]byte(most)); err != nil || string(r.Bytes()) != most {
		t.Errorf("ParseSubtreeRequest with %d hashes: %v", MaxProof, err)
	}
}

// A line that is repeated costs no more than one.
func TestVerifyRepeated(t *testing.T) {
	a := newTextSigner(t, "a.example")
	one := Note{"text\n", []Signature{a.sign("text\n")}}
	many := one
	many.Signatures = slices.Repeat(one.Signatures, MaxSignatures)
	cost := func(n Note) time.Duration {
		least := time.Hour
		for range 50 {
			begin := time.Now()
			if sigs, err := n.Verify(a.key); err != nil || len(sigs) != 1 {
				t.Fatal(err)
			}
			least = min(least, time.Since(begin))
		}
		return least
	}
	if x, y := cost(one), cost(many); y > MaxSignatures/4*x {
		t.Errorf("%v for one line, %v for %d", x, y, MaxSignatures)
	}
}
