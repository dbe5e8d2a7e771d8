// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package bastion

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"key", filepath.Join(t.TempDir(), "key")} {
		if _, err := LoadKey(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("before there is one: %v", err)
		}
		made, err := CreateKey(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		if _, err := CreateKey(path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("made twice: %v", err)
		}
		read, err := LoadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		if !read.Equal(made) || Hash(read) != Hash(made) {
			t.Error("read another key than was made")
		}
		if h := Hash(read); len(h) != 64 || strings.ToLower(h) != h {
			t.Errorf("hash %q", h)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err == nil {
			t.Error("loaded a file that others may read")
		}
	}
	if _, err := CreateKey("none/key"); err == nil {
		t.Error("made a key in no directory")
	}
}

func TestParseKeyRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := CreateKey(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseKey(good); err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	for what, text := range map[string][]byte{
		"nothing":         nil,
		"two keys":        bytes.Repeat(good, 2),
		"something more":  append(bytes.Clone(good), "x"...),
		"another type":    pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: block.Bytes}),
		"encrypted":       pem.EncodeToMemory(&pem.Block{Type: pemType, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: block.Bytes}),
		"an ECDSA key":    pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}),
		"part of a key":   pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: block.Bytes[:20]}),
		"a witness's key": []byte("PRIVATE+KEY+a+00000000+BA==\n"),
	} {
		if _, err := parseKey(text); err == nil {
			t.Errorf("%s: parsed", what)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	path := filepath.Join(f.TempDir(), "key")
	if _, err := CreateKey(path); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := parseKey(text); err == nil && len(Hash(key)) != 64 {
			t.Errorf("%q: a key without a hash", text)
		}
	})
}
