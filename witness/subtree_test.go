// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// subtree returns a request for the first 8 of 12 entries, whose proof is the
// hash of the other four and nothing else.
func subtreeRequest(t testing.TB, l *testLog, n checkpoint.Note) checkpoint.SubtreeRequest {
	hashes, err := l.hashes(nil, 12).ReadHashes([]int64{tlog.StoredHashIndex(3, 0), tlog.StoredHashIndex(2, 2)})
	if err != nil {
		t.Fatal(err)
	}
	return checkpoint.SubtreeRequest{Start: 0, End: 8, Hash: hashes[0], Proof: hashes[1:], Note: n.Bytes()}
}

func TestSubtree(t *testing.T) {
	l, gone := newTestLog("a.example"), newTestLog("gone.example")
	r := newRig(t, l, gone)
	r.cosigners = append(r.cosigners, mldsaCosigner(t, witnessName))
	r.restart()
	sigs := r.mustAdd(l, 0, 0, 12)
	n := l.note(l.tree(0, 12))
	n.Signatures = sigs
	good := subtreeRequest(t, l, n)
	edit := func(f func(*checkpoint.SubtreeRequest)) string {
		req := good
		f(&req)
		return string(req.Bytes())
	}
	goneSigs := r.mustAdd(gone, 0, 0, 12)
	if err := r.w.SetDisabled(gone.origin, true); err != nil {
		t.Fatal(err)
	}
	disabled := gone.note(gone.tree(0, 12))
	disabled.Signatures = goneSigs
	unknown := newTestLog("unknown.example")
	bad := n
	bad.Signatures = append([]checkpoint.Signature(nil), sigs...)
	bad.Signatures[1].Bytes = append([]byte(nil), sigs[1].Bytes...)
	bad.Signatures[1].Bytes[99] ^= 1
	for _, tt := range []struct {
		name   string
		body   string
		status int
	}{
		{"good", string(good.Bytes()), 200},
		{"cosigned by the other key", edit(func(r *checkpoint.SubtreeRequest) {
			r.Note = checkpoint.Note{Text: n.Text, Signatures: sigs[:1]}.Bytes()
		}), 200},
		{"no range", string(l.request(0, 0, 5).Bytes()), 400},
		{"empty range", edit(func(r *checkpoint.SubtreeRequest) { r.End = 0 }), 400},
		{"no subtree", edit(func(r *checkpoint.SubtreeRequest) { r.Start = 3 }), 400},
		{"past the end", edit(func(r *checkpoint.SubtreeRequest) { r.End = 13 }), 400},
		{"64 hashes", edit(func(r *checkpoint.SubtreeRequest) { r.Proof = make([]tlog.Hash, 64) }), 400},
		{"no note", edit(func(r *checkpoint.SubtreeRequest) { r.Note = nil }), 400},
		{"unknown", edit(func(r *checkpoint.SubtreeRequest) { r.Note = unknown.note(unknown.tree(0, 12)).Bytes() }), 404},
		{"disabled", edit(func(r *checkpoint.SubtreeRequest) { r.Note = disabled.Bytes() }), 404},
		{"not cosigned", edit(func(r *checkpoint.SubtreeRequest) { r.Note = l.note(l.tree(0, 12)).Bytes() }), 403},
		{"badly cosigned", edit(func(r *checkpoint.SubtreeRequest) { r.Note = bad.Bytes() }), 403},
		{"another hash", edit(func(r *checkpoint.SubtreeRequest) { r.Hash[0] ^= 1 }), 422},
		{"no proof", edit(func(r *checkpoint.SubtreeRequest) { r.Proof = nil }), 422},
	} {
		resp := post(r.w, "/sign-subtree", tt.body)
		body := bodyOf(t, resp)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: status %d, not %d: %s", tt.name, resp.StatusCode, tt.status, body)
			continue
		}
		if tt.status != 200 {
			continue
		}
		sig, err := checkpoint.ParseSignature(body[:len(body)-1])
		if err != nil || !r.w.keys[1].VerifySubtree(checkpoint.Subtree{Origin: l.origin, Start: 0, End: 8, Hash: good.Hash}, sig.Bytes) {
			t.Errorf("%s: %v %q", tt.name, err, body)
		}
	}
}

// TestSubtreeRollback shows the witness a cosignature that its state does not
// know.
func TestSubtreeRollback(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.cosigners = append(r.cosigners, mldsaCosigner(t, witnessName))
	r.restart()
	r.mustAdd(l, 0, 0, 11)
	req := subtreeRequest(t, l, r.cosigned(l, l.tree(0, 12), startTime))
	if _, err := r.w.SignSubtree(context.Background(), req.Bytes()); statusOf(err) != 503 {
		t.Errorf("%v", err)
	}
	if err := <-r.w.Failed(); !errors.Is(err, state.ErrUnsafe) {
		t.Errorf("%v", err)
	}
	if status, _ := r.add(l.request(0, 11, 12)); status != 503 {
		t.Errorf("status %d", status)
	}
}

// TestSubtreeAtOnce has a client watch the monitoring endpoint and show each new
// checkpoint at once. It is no sign of a rollback that the witness has just cosigned
// it.
func TestSubtreeAtOnce(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.cosigners = append(r.cosigners, mldsaCosigner(t, witnessName))
	r.restart()
	r.mustAdd(l, 0, 0, 12)
	path := fmt.Sprintf("/%x/checkpoint", sha256.Sum256([]byte(l.origin)))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			rec := httptest.NewRecorder()
			r.w.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
			note := bodyOf(t, rec.Result())
			req := checkpoint.SubtreeRequest{Start: 0, End: 8, Note: []byte(note)}
			if _, err := r.w.SignSubtree(context.Background(), req.Bytes()); statusOf(err) != 422 {
				t.Errorf("%v", err)
				return
			}
		}
	})
	for size := int64(12); size < 212 && r.w.dead.Load() == nil; size++ {
		if status, _ := r.add(l.request(0, size, size+1)); status != 200 {
			t.Errorf("status %d", status)
			break
		}
	}
	close(done)
	wg.Wait()
}
