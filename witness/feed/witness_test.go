// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package feed_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/internal/tlogclient/tlogtest"
	"example.org/sumlog/witness"
	"example.org/sumlog/witness/feed"
	"example.org/sumlog/witness/state"
)

// newWitness returns a real witness and its store.
func newWitness(t *testing.T, peers ...string) (*witness.Witness, *state.Store, *checkpoint.Key) {
	t.Helper()
	dir := t.TempDir()
	guard := filepath.Join(dir, "guard")
	if err := state.Create(dir, guard); err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(state.Config{Dir: dir, Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := checkpoint.NewCosigner("w.example", private)
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.New(witness.Config{Name: "w.example", Cosigners: []*checkpoint.Cosigner{cosigner}, Store: store, Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w, store, cosigner.Key()
}

// TestWitnessGoDatabase has a witness cosign two heads of the Go team's
// database.
func TestWitnessGoDatabase(t *testing.T) {
	w, store, own := newWitness(t)
	key, err := checkpoint.ParseKey("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"69959272", "71848828"} {
		f, err := feed.New(feed.Config{
			Key: key, URL: filepath.Join("testdata/sum.golang.org", dir), Target: w,
			Found: func(origin string) error {
				return w.AddLog(state.Log{Origin: origin, Keys: []*checkpoint.Key{key}})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Feed(t.Context()); err != nil {
			t.Fatal(err)
		}
		msg, err := store.Note(tlogclient.DatabaseOrigin)
		if err != nil {
			t.Fatal(err)
		}
		n, err := checkpoint.ParseNote(msg)
		if err != nil {
			t.Fatal(err)
		}
		if sigs, err := n.Verify(key, own); err != nil || len(sigs) != 2 {
			t.Errorf("%d signatures, %v, in\n%s", len(sigs), err, msg)
		}
		if !bytes.Contains(msg, []byte("\n"+dir+"\n")) {
			t.Errorf("cosigned\n%s\nwant size %s", msg, dir)
		}
	}
}

// TestWitnessFork has a witness keep evidence of a fork that its feeder saw.
func TestWitnessFork(t *testing.T) {
	w, store, _ := newWitness(t)
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	if err := w.AddLog(state.Log{Origin: l.Origin, Keys: []*checkpoint.Key{l.Key}}); err != nil {
		t.Fatal(err)
	}
	l.Grow("a", 300)
	same, larger := l.Fork(200), l.Fork(200)
	same.Grow("b", 300)
	larger.Grow("c", 700)
	for i, l := range []*tlogtest.Log{l, same, larger} {
		srv := httptest.NewServer(l)
		defer srv.Close()
		f, err := feed.New(feed.Config{Key: l.Key, URL: srv.URL, Target: w})
		if err != nil {
			t.Fatal(err)
		}
		err = f.Feed(t.Context())
		if _, forked := errors.AsType[*tlogclient.ForkError](err); forked != (i > 0) || i == 0 && err != nil {
			t.Errorf("history %d: error %v", i, err)
		}
		evidence, err := store.Evidence()
		if err != nil || len(evidence) != i {
			t.Errorf("history %d: %d pieces of evidence, %v", i, len(evidence), err)
		}
		if got, _ := w.Head(l.Origin); got.N != 300 {
			t.Errorf("witness has size %d", got.N)
		}
	}
}

// TestWitnessFloor feeds a witness whose peer has seen more than it has, and less
// than the log has now: it wants proofs from both.
func TestWitnessFloor(t *testing.T) {
	l := tlogtest.New(t, "log.example", tlogclient.Tiles)
	l.Grow("a", 200)
	srv := httptest.NewServer(l)
	defer srv.Close()
	seen, err := http.Get(srv.URL + "/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Body.Close()
	note, err := io.ReadAll(seen.Body)
	if err != nil {
		t.Fatal(err)
	}
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(note) }))
	defer peer.Close()
	w, _, _ := newWitness(t, peer.URL)
	if err := w.AddLog(state.Log{Origin: l.Origin, Keys: []*checkpoint.Key{l.Key}}); err != nil {
		t.Fatal(err)
	}
	f, err := feed.New(feed.Config{Key: l.Key, URL: srv.URL, Target: w})
	if err != nil {
		t.Fatal(err)
	}
	l.Grow("a", 300)
	if err := f.Feed(t.Context()); err != nil {
		t.Error(err)
	}
	if got, _ := w.Head(l.Origin); got.N != 300 {
		t.Errorf("witness has size %d", got.N)
	}
}
