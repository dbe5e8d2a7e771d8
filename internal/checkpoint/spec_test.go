// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package checkpoint

import (
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// What the specifications print. Only signed-note prints a key with the note
// that it signed.

const specKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"

const specNote = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`

const specPoem = `Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
`

const specCosigned = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`

const specRequest = `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`

const specSubtreeRequest = `subtree 8 13
mbsQCg+dEIMGlpqeGgk94JutQwKKS2Lo5IuDhKmDjiU=
CD82D2LDm0phY0+xKbHyZfq3Hw21lVkuV7Zis5EFg0k=
h/ghL5nyaXTIBAklqDnisM+SFdbA3izoGZ5oRYMZzc0=
8qtnAAU9sTKQx/zt3E4v8Jt2a9IMQUf0QUawvePF9y0=
KuO5BNOmginG34Lm5G3e2GuiWliGo3K0ebzGpvI0fEg=

example.com/behind-the-sofa
14
/CcKVZM9n65aH7jLaIZuUB4/MSlEFQ4+ldwUC21rDHM=

`

func mustKey(t testing.TB, vkey string) *Key {
	k, err := ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustNote(t testing.TB, msg string) Note {
	n, err := ParseNote([]byte(msg))
	if err != nil {
		t.Fatal(err)
	}
	if string(n.Bytes()) != msg {
		t.Fatalf("%q became %q", msg, n.Bytes())
	}
	return n
}

func TestSpecNote(t *testing.T) {
	k := mustKey(t, specKey)
	if k.Name() != "example.com/foo" || k.ID() != 0x530d903a || k.Algorithm() != Ed25519 || k.String() != specKey {
		t.Errorf("key %v", k)
	}
	n := mustNote(t, specNote)
	sigs, err := n.Verify(k)
	if err != nil || len(sigs) != 1 || n.Text != "This is an example message.\n" {
		t.Errorf("%q signed %v, %v", n.Text, sigs, err)
	}
	n.Text += "\n"
	if _, err := n.Verify(k); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another text: %v", err)
	}
}

// The text of a note may have empty lines.
func TestSpecPoem(t *testing.T) {
	n := mustNote(t, specPoem)
	want := "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n"
	if n.Text != want || len(n.Signatures) != 1 || n.Signatures[0].Name != "quasimodo.example/salvatore" || n.Signatures[0].ID != 0x367ba04b {
		t.Errorf("%+v", n)
	}
	if _, err := n.Verify(mustKey(t, specKey)); !errors.Is(err, ErrUnsigned) {
		t.Errorf("signed by a stranger: %v", err)
	}
}

func TestSpecCosigned(t *testing.T) {
	n := mustNote(t, specCosigned)
	c, err := Parse(n.Text)
	if err != nil {
		t.Fatal(err)
	}
	root, err := tlog.ParseHash("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != "example.com/behind-the-sofa" || c.Tree() != (tlog.Tree{N: 20852163, Hash: root}) || c.Extensions != nil || c.Text() != n.Text {
		t.Errorf("%+v", c)
	}
	s := n.Signatures[1]
	const time = 1679315147 // as printed in the section on the signed message
	if got, ok := s.Time(); !ok || got != time || s.Name != "witness.example.com/w1" || len(s.Bytes) != 72 {
		t.Errorf("%+v at %d, %v", s, got, ok)
	}
	want := "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	if got := string(ed25519Message(n.Text, time)); got != want {
		t.Errorf("message %q", got)
	}
}

func TestSpecRequests(t *testing.T) {
	r, err := ParseAddRequest([]byte(specRequest))
	if err != nil {
		t.Fatal(err)
	}
	n := mustNote(t, string(r.Note))
	if r.Old != 20852014 || len(r.Proof) != 4 || r.Proof[3].String() != "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=" || len(n.Signatures) != 2 {
		t.Errorf("%+v", r)
	}
	if string(r.Bytes()) != specRequest {
		t.Errorf("became %q", r.Bytes())
	}

	s, err := ParseSubtreeRequest([]byte(specSubtreeRequest))
	if err != nil {
		t.Fatal(err)
	}
	if s.Start != 8 || s.End != 13 || s.Hash.String() != "mbsQCg+dEIMGlpqeGgk94JutQwKKS2Lo5IuDhKmDjiU=" || len(s.Proof) != 4 {
		t.Errorf("%+v", s)
	}
	if string(s.Bytes()) != specSubtreeRequest {
		t.Errorf("became %q", s.Bytes())
	}
}
