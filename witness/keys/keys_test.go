// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package keys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

const name = "witness.example/w1"

var cp = checkpoint.Checkpoint{Origin: "log.example", Size: 3, Root: tlog.Hash{1, 2, 3}}

// cosigns fails the test unless c makes good cosignatures.
func cosigns(t *testing.T, c *checkpoint.Cosigner) {
	t.Helper()
	s, err := c.Cosign(cp, 1700000000)
	if err != nil {
		t.Fatal(err)
	}
	n := checkpoint.Note{Text: cp.Text(), Signatures: []checkpoint.Signature{s}}
	if _, err := n.Verify(c.Key()); err != nil {
		t.Error(err)
	}
}

// write makes a file and returns its path.
func write(t *testing.T, text string, perm fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

func TestGenerateLoad(t *testing.T) {
	for _, alg := range []checkpoint.Algorithm{checkpoint.CosignatureEd25519, checkpoint.CosignatureMLDSA44} {
		skey, key, err := Generate(name, alg)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{skey, skey + "\n"} {
			path := write(t, text, 0o600)
			for _, n := range []string{name, ""} {
				c, err := Load(path, n)
				if err != nil {
					t.Fatalf("%v: %v", alg, err)
				}
				if c.Key().String() != key.String() {
					t.Errorf("loaded %v, generated %v", c.Key(), key)
				}
				cosigns(t, c)
			}
			if _, err := Load(path, "witness.example/w2"); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v: with another name: %v", alg, err)
			}
		}
	}
	if _, _, err := Generate(name, checkpoint.Ed25519); err == nil {
		t.Error("made a log's key")
	}
	if _, _, err := Generate("two words", checkpoint.CosignatureEd25519); err == nil {
		t.Error("made a key of a name with a space")
	}
}

func TestParseRefuses(t *testing.T) {
	skey, key, err := Generate(name, checkpoint.CosignatureEd25519)
	if err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("PRIVATE+KEY+%s+%08x+", name, key.ID())
	data, ok := strings.CutPrefix(skey, prefix)
	if !ok {
		t.Fatalf("a key of another form: %d bytes", len(skey))
	}
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	logKey, _, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := Generate(name, checkpoint.CosignatureEd25519)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, text, want string }{
		{"nothing", "", "not one line"},
		{"a vkey", key.String(), "not one line"},
		{"two lines", skey + "\n" + skey + "\n", "not one line"},
		{"an empty second line", skey + "\n\n", "not one line"},
		{"CRLF", skey + "\r\n", "not one line"},
		{"a space before", " " + skey, "not one line"},
		{"a space behind", skey + " ", "not one line"},
		{"a line end inside", prefix + data[:8] + "\n" + data[8:], "not one line"},
		{"no data", prefix, "not one line"},
		{"cut", skey[:len(skey)-4], "a seed of"},
		{"longer", prefix + encode(append(raw[:len(raw):len(raw)], 0)), "a seed of 33"},
		{"of a log", logKey, "log (type 0x01)"},
		{"of an unknown type", prefix + encode(append([]byte{5}, raw[1:]...)), "type 0x05"},
		{"ML-DSA under the ID of Ed25519", prefix + encode(append([]byte{6}, raw[1:]...)), "ID is not"},
		{"another key's ID", strings.Replace(skey, fmt.Sprintf("%08x", key.ID()), fmt.Sprintf("%08x", other.ID()), 1), "ID is not"},
		{"another name", strings.Replace(skey, name, name+"x", 1), "ID is not"},
		{"a longer ID", strings.Replace(skey, fmt.Sprintf("+%08x+", key.ID()), fmt.Sprintf("+0%08x+", key.ID()), 1), "ID is not"},
		{"a name with a space", strings.Replace(skey, name, "a b", 1), "not one line"},
	} {
		_, err := Parse([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), data[:10]) {
			t.Errorf("%s: the error quotes the key", c.what)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	skey, _, err := Generate(name, checkpoint.CosignatureEd25519)
	if err != nil {
		t.Fatal(err)
	}
	for _, perm := range []fs.FileMode{0o640, 0o604, 0o620, 0o644, 0o700} {
		if _, err := Load(write(t, skey, perm), name); err == nil || !strings.Contains(err.Error(), "want 0600") {
			t.Errorf("mode %#o: %v", perm, err)
		}
	}
	if _, err := Load(write(t, skey, 0o400), name); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	if _, err := Load(write(t, strings.Repeat("x", maxFile+1), 0o600), name); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("large: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(t.TempDir(), name); err == nil {
		t.Error("loaded a directory")
	}
	// A pipe nobody writes to: this must not wait for one who does.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(pipe, name); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("pipe: %v", err)
	}
	// A link, as secrets are often mounted, has the mode of what it shows.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(write(t, skey, 0o644), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(link, name); err == nil {
		t.Error("loaded a file that all may read by a link")
	}
}

func FuzzParse(f *testing.F) {
	for _, alg := range []checkpoint.Algorithm{checkpoint.CosignatureEd25519, checkpoint.CosignatureMLDSA44} {
		skey, _, err := Generate(name, alg)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(skey))
		f.Add([]byte(skey + "\n"))
	}
	f.Add([]byte("PRIVATE+KEY+a+00000000+BA=="))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		// There is one text for a key, but for its newline.
		line := strings.TrimSuffix(string(text), "\n")
		want := fmt.Sprintf("PRIVATE+KEY+%s+%08x+", c.Key().Name(), c.Key().ID())
		data, ok := strings.CutPrefix(line, want)
		raw, err := base64.StdEncoding.DecodeString(data)
		if !ok || err != nil || base64.StdEncoding.EncodeToString(raw) != data || checkpoint.Algorithm(raw[0]) != c.Key().Algorithm() {
			t.Errorf("accepted %q", text)
		}
	})
}
