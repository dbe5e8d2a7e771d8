// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
)

// MaxName is the largest length of a log's name in bytes.
const MaxName = 255

// CheckName reports why name cannot name a log, or nil. The go command wants
// host[/path] without scheme, escapes or trailing slash; notes want neither
// spaces nor plus signs.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("log name %q: want 1 to %d bytes", name, MaxName)
	}
	for _, r := range name {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~/:", r)) {
			return fmt.Errorf("log name %q: character %q is not allowed", name, r)
		}
	}
	u, err := url.Parse("https://" + name)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host+u.Path != "https://"+name || strings.HasSuffix(name, "/") {
		return fmt.Errorf("log name %q: want host[/path] without scheme", name)
	}
	for elem := range strings.SplitSeq(name, "/") {
		// The name is a part of URL paths (/sumdb/NAME/...), which clients clean.
		if elem == "" || elem == "." || elem == ".." {
			return fmt.Errorf("log name %q: bad path element %q", name, elem)
		}
	}
	return nil
}

// A signer holds the log's one key. It signs the two notes of a publication
// and nothing else: there is no raw signing operation to misuse.
type signer struct {
	*identity
	signer note.Signer
}

// An identity is what verifies the notes of a log.
type identity struct {
	verifier note.Verifier
	vkey     string
}

// newSigner parses the text of a note signing key (PRIVATE+KEY+...).
func newSigner(skey string) (*signer, error) {
	skey = strings.TrimSpace(skey)
	s, err := note.NewSigner(skey)
	if err != nil {
		// The error could quote the key; say nothing of it.
		return nil, errors.New("malformed signing key: want one line PRIVATE+KEY+NAME+HASH+DATA")
	}
	_, data, _ := strings.Cut(strings.TrimPrefix(skey, "PRIVATE+KEY+"+s.Name()+"+"), "+")
	seed, err := base64.StdEncoding.DecodeString(data)
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("malformed signing key: not an Ed25519 key")
	}
	pub := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(s.Name(), pub)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return &signer{&identity{v, vkey}, s}, nil
}

// generateKey makes a signing key. An empty name becomes localhost/ and eight
// hex digits of the key, so that two try-outs on one machine do not meet each
// other's state in the go command's cache.
func generateKey(name string) (skey string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	if name == "" {
		sum := sha256.Sum256(pub)
		name = fmt.Sprintf("localhost/%x", sum[:4])
	}
	vkey, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return "", err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return "", err
	}
	const algEd25519 = 1
	data := base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, priv.Seed()...))
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), data), nil
}

// readKey reads the signing key file, which only its owner may read.
func readKey(root *os.Root) (*signer, error) {
	if isUnfinished(root) {
		return nil, errUnfinished(root.Name())
	}
	fi, err := root.Stat(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no signing key: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: signing key has mode %#o, want 0600: others may have read it", ErrUnsafe, fi.Mode().Perm())
	}
	data, err := root.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	s, err := newSigner(string(data))
	if err != nil {
		return nil, fmt.Errorf("signing key: %w: %v", errRotten, err)
	}
	return s, nil
}

// ReadVKey returns the name and the verifier key of the log in dir. It takes
// no lock and so works beside a running server.
func ReadVKey(dir string) (name, vkey string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	s, err := readKey(root)
	if err != nil {
		return "", "", err
	}
	return s.signer.Name(), s.vkey, nil
}

// CheckKey reports whether skey is a signing key, and whose.
func CheckKey(skey string) (name string, err error) {
	s, err := newSigner(skey)
	if err != nil {
		return "", err
	}
	return s.signer.Name(), nil
}

// checkpointText is the text of the note with origin name
// (https://c2sp.org/tlog-checkpoint).
func checkpointText(name string, t tlog.Tree) string {
	return name + "\n" + strconv.FormatInt(t.N, 10) + "\n" + t.Hash.String() + "\n"
}

func (s *signer) signCheckpoint(t tlog.Tree) ([]byte, error) {
	return note.Sign(&note.Note{Text: checkpointText(s.signer.Name(), t)}, s.signer)
}

func (s *signer) signTreeHead(t tlog.Tree) ([]byte, error) {
	return note.Sign(&note.Note{Text: string(tlog.FormatTree(t))}, s.signer)
}

// openCheckpoint verifies a checkpoint of this log and returns its tree.
func (s *signer) openCheckpoint(msg []byte) (tlog.Tree, error) {
	n, err := note.Open(msg, note.VerifierList(s.verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return tlog.Tree{}, err
	}
	if n.Text != checkpointText(s.signer.Name(), c.Tree()) {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	return c.Tree(), nil
}

// openNotes verifies the two notes of a publication and returns the one tree
// that both speak of. Text beyond the three lines is refused: this log never
// wrote any.
func (id *identity) openNotes(checkpoint, treeHead []byte) (tlog.Tree, error) {
	vs := note.VerifierList(id.verifier)
	head, err := note.Open(treeHead, vs)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("tree head: %w", err)
	}
	t, err := tlog.ParseTree([]byte(head.Text))
	if err != nil {
		return tlog.Tree{}, err
	}
	if head.Text != string(tlog.FormatTree(t)) {
		return tlog.Tree{}, errors.New("tree head: not in its canonical form")
	}
	cp, err := note.Open(checkpoint, vs)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	if cp.Text != checkpointText(id.verifier.Name(), t) {
		return tlog.Tree{}, errors.New("checkpoint and tree head speak of different trees")
	}
	return t, nil
}
