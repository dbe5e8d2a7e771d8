// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/witness/state"
)

// post sends a body to a handler.
func post(h http.Handler, path, body string) *http.Response {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("POST", path, strings.NewReader(body)))
	return rec.Result()
}

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAnswers has one request for each rule of the specification. The witness is
// at size 10 of branch 0.
func TestAnswers(t *testing.T) {
	l, fresh, gone, stranger := newTestLog("a.example/log"), newTestLog("b.example"), newTestLog("gone.example"), newTestLog("c.example")
	r := newRig(t, l, fresh, gone)
	r.mustAdd(l, 0, 0, 10)
	if err := r.w.SetDisabled(gone.origin, true); err != nil {
		t.Fatal(err)
	}
	edit := func(req checkpoint.AddRequest, old, new string) string {
		return strings.Replace(string(req.Bytes()), old, new, 1)
	}
	with := func(req checkpoint.AddRequest, f func(*checkpoint.AddRequest)) string {
		f(&req)
		return string(req.Bytes())
	}
	signed := func(text string) checkpoint.AddRequest {
		return checkpoint.AddRequest{Note: checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{l.sign(text)}}.Bytes()}
	}
	lines := func(n int) []tlog.Hash { return make([]tlog.Hash, n) }
	badSig := l.note(l.tree(0, 12))
	badSig.Signatures[0].Bytes[3] ^= 1
	goodAndBad := l.note(l.tree(0, 12))
	goodAndBad.Signatures = append(goodAndBad.Signatures, badSig.Signatures...)
	good := l.request(0, 10, 12)
	for _, tt := range []struct {
		name   string
		body   string
		status int
	}{
		{"empty", "", 400},
		{"no old line", edit(good, "old 10\n", ""), 400},
		{"zero-padded old", edit(good, "old 10", "old 010"), 400},
		{"signed old", edit(good, "old 10", "old +10"), 400},
		{"two spaces", edit(good, "old 10", "old  10"), 400},
		{"a CR", edit(good, "old 10\n", "old 10\r\n"), 400},
		{"old out of range", edit(good, "old 10", "old 9223372036854775808"), 400},
		{"64 lines of proof", with(good, func(r *checkpoint.AddRequest) { r.Proof = lines(64) }), 400},
		{"a short hash", edit(good, good.Proof[0].String(), base64.StdEncoding.EncodeToString(good.Proof[0][:31])), 400},
		{"no note", "old 10\n\n", 400},
		{"no newline at the end", strings.TrimSuffix(string(good.Bytes()), "\n"), 400},
		{"old above the size", with(l.request(0, 10, 12), func(r *checkpoint.AddRequest) { r.Old = 13 }), 400},
		{"zero-padded size", string(signed(l.origin + "\n012\n" + l.tree(0, 12).Hash.String() + "\n").Bytes()), 400},
		{"a text of two lines", string(signed(l.origin + "\n12\n").Bytes()), 400},
		{"unknown origin", string(stranger.request(0, 0, 5).Bytes()), 404},
		{"unknown origin, our key", string(signed("d.example\n1\n" + l.tree(0, 1).Hash.String() + "\n").Bytes()), 404},
		{"disabled", string(gone.request(0, 0, 5).Bytes()), 404},
		{"no known signature", with(good, func(r *checkpoint.AddRequest) {
			r.Note = checkpoint.Note{Text: l.note(l.tree(0, 12)).Text, Signatures: []checkpoint.Signature{stranger.sign("x")}}.Bytes()
		}), 403},
		{"bad signature", with(good, func(r *checkpoint.AddRequest) { r.Note = badSig.Bytes() }), 403},
		{"a good and a bad signature", with(good, func(r *checkpoint.AddRequest) { r.Note = goodAndBad.Bytes() }), 403},
		{"bad signature before bad text", string(checkpoint.AddRequest{Note: checkpoint.Note{Text: l.origin + "\nx\n", Signatures: badSig.Signatures}.Bytes()}.Bytes()), 403},
		{"bad signature before stale", with(l.request(0, 9, 12), func(r *checkpoint.AddRequest) { r.Note = badSig.Bytes() }), 403},
		{"old too small", string(l.request(0, 9, 12).Bytes()), 409},
		{"old too large", string(l.request(0, 11, 12).Bytes()), 409},
		{"old 0", string(l.request(0, 0, 12).Bytes()), 409},
		{"old 0 with a proof, stale", with(l.request(0, 0, 12), func(r *checkpoint.AddRequest) { r.Proof = lines(1) }), 409},
		{"another root, stale", string(l.request(5, 9, 10).Bytes()), 409},
		{"another branch", string(l.request(5, 10, 12).Bytes()), 422},
		{"another root of the same size", with(l.request(5, 10, 10), func(r *checkpoint.AddRequest) {}), 422},
		{"no proof", with(good, func(r *checkpoint.AddRequest) { r.Proof = nil }), 422},
		{"one hash too many", with(good, func(r *checkpoint.AddRequest) { r.Proof = append(r.Proof, tlog.Hash{}) }), 422},
		{"a proof for the same size", with(l.request(0, 10, 10), func(r *checkpoint.AddRequest) { r.Proof = lines(1) }), 422},
		{"size 0 with a root", string(checkpoint.AddRequest{Note: fresh.note(tlog.Tree{Hash: sha256.Sum256([]byte("x"))}).Bytes()}.Bytes()), 422},
		{"a proof from size 0", with(fresh.request(0, 0, 5), func(r *checkpoint.AddRequest) { r.Proof = lines(1) }), 422},
		{"too large", string(good.Bytes()) + strings.Repeat("x", checkpoint.MaxRequest), 413},
		{"old 0, never seen, not 0", string(fresh.request(0, 3, 5).Bytes()), 409},
	} {
		resp := post(r.w, "/add-checkpoint", tt.body)
		body := bodyOf(t, resp)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: status %d, not %d: %s", tt.name, resp.StatusCode, tt.status, body)
		}
		if strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") || len(body) > 300 {
			t.Errorf("%s: body %q", tt.name, body)
		}
		if strings.HasPrefix(tt.name, "another root of") && !strings.Contains(body, "another root") {
			t.Errorf("%s: body %q", tt.name, body)
		}
		kind := "text/plain; charset=utf-8"
		if tt.status == 409 {
			kind = "text/x.tlog.size"
			if want := fmt.Sprintln(r.headOf(tt.body)); body != want {
				t.Errorf("%s: body %q, not %q", tt.name, body, want)
			}
		}
		if got := resp.Header.Get("Content-Type"); got != kind {
			t.Errorf("%s: content type %q", tt.name, got)
		}
	}
	if got := r.head(l); got != l.tree(0, 10) {
		t.Errorf("refused requests left %v", got)
	}
	if got := r.head(fresh); got != (tlog.Tree{}) {
		t.Errorf("refused requests left %v", got)
	}
	resp := post(r.w, "/add-checkpoint", string(good.Bytes()))
	if lines := bodyOf(t, resp); resp.StatusCode != 200 || len(r.cosignatures(good.Note, []byte(lines))) != 1 {
		t.Errorf("status %d, %q", resp.StatusCode, lines)
	}
}

// headOf returns the size that is cosigned of the log that a body is about.
func (r *rig) headOf(body string) int64 {
	_, note, _ := strings.Cut(body, "\n\n")
	origin, _, _ := strings.Cut(note, "\n")
	head, _ := r.w.Head(origin)
	return head.N
}

func TestMethodsAndPaths(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(l.origin)))
	get := func(method, path string) *http.Response {
		rec := httptest.NewRecorder()
		r.w.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		return rec.Result()
	}
	if got := get("GET", "/"+hash+"/checkpoint").StatusCode; got != 404 {
		t.Errorf("before the first cosignature: %d", got)
	}
	sigs := r.mustAdd(l, 0, 0, 7)
	resp := get("GET", "/"+hash+"/checkpoint")
	n := l.note(l.tree(0, 7))
	n.Signatures = append(n.Signatures, sigs...)
	if body := bodyOf(t, resp); resp.StatusCode != 200 || body != string(n.Bytes()) {
		t.Errorf("status %d, body %q", resp.StatusCode, body)
	}
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/add-checkpoint", 405},
		{"PUT", "/add-checkpoint", 405},
		{"POST", "/" + hash + "/checkpoint", 405},
		{"GET", "/" + strings.ToUpper(hash) + "/checkpoint", 404},
		{"GET", "/" + hash[1:] + "/checkpoint", 404},
		{"GET", "/" + hash + "00/checkpoint", 404},
		{"GET", "/" + fmt.Sprintf("%x", sha256.Sum256(nil)) + "/checkpoint", 404},
		{"GET", "/", 404},
		{"POST", "/sign-subtree", 404}, // there is no key for it
	} {
		if got := get(tt.method, tt.path).StatusCode; got != tt.status {
			t.Errorf("%s %s: %d, not %d", tt.method, tt.path, got, tt.status)
		}
	}
	// What was said of a disabled log stays said.
	if err := r.w.SetDisabled(l.origin, true); err != nil {
		t.Fatal(err)
	}
	if got := get("GET", "/"+hash+"/checkpoint").StatusCode; got != 200 {
		t.Errorf("of a disabled log: %d", got)
	}
}

// TestStored checks that only verified signatures are kept, and the text as it
// was parsed.
func TestStored(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	n := l.note(l.tree(0, 7), "extension 1", "extension 2")
	forged := checkpoint.Signature{Name: witnessName, ID: r.w.keys[0].ID(), Bytes: make([]byte, 72)}
	sent := n
	sent.Signatures = append([]checkpoint.Signature{forged, {Name: "x.example", ID: 1, Bytes: make([]byte, 2500)}}, n.Signatures...)
	sent.Signatures = append(sent.Signatures, n.Signatures...)
	status, sigs := r.add(checkpoint.AddRequest{Note: sent.Bytes()})
	if status != 200 {
		t.Fatalf("status %d", status)
	}
	n.Signatures = append(n.Signatures, sigs...)
	if note, err := r.store.Note(l.origin); err != nil || !bytes.Equal(note, n.Bytes()) {
		t.Errorf("stored\n%s%v", note, err)
	}
}

// TestLargest sends what the specification wants accepted: sixteen signatures of
// the largest kind, and 63 hashes, which no tree of a test needs.
func TestLargest(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	n := l.note(l.tree(0, 7))
	for i := range 25 {
		n.Signatures = append(n.Signatures, checkpoint.Signature{Name: fmt.Sprintf("w%d.example", i), ID: uint32(i), Bytes: make([]byte, 3000)})
	}
	req := checkpoint.AddRequest{Note: n.Bytes()}
	if resp := post(r.w, "/add-checkpoint", string(req.Bytes())); resp.StatusCode != 200 {
		t.Errorf("%d bytes: status %d %s", len(req.Bytes()), resp.StatusCode, bodyOf(t, resp))
	}
	req = l.request(0, 7, 9)
	req.Proof = make([]tlog.Hash, 63)
	if resp := post(r.w, "/add-checkpoint", string(req.Bytes())); resp.StatusCode != 422 {
		t.Errorf("63 hashes: status %d", resp.StatusCode)
	}
}

func TestKeys(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.mustAdd(l, 0, 0, 4)
	// A second key of another kind, and a third under another name.
	r.cosigners = append(r.cosigners, mldsaCosigner(t, witnessName), ed25519Cosigner("witness.example/next"))
	r.restart()
	// What is stored has no cosignature by them, so this is no repetition.
	if sigs := r.mustAdd(l, 0, 4, 4); len(sigs) != 3 {
		t.Errorf("%d cosignatures", len(sigs))
	}
	r.mustAdd(l, 0, 4, 9)
}

func TestOwnName(t *testing.T) {
	r := newRig(t)
	r.cosigners = append(r.cosigners, ed25519Cosigner("witness.example/next"))
	r.restart()
	for _, origin := range []string{witnessName, "witness.example/next"} {
		if err := r.w.AddLog(newTestLog(origin).config()); err == nil {
			t.Errorf("%s was added", origin)
		}
	}
	// It may have been added under another name.
	l := newTestLog("witness.example/third")
	if err := r.w.AddLog(l.config()); err != nil {
		t.Fatal(err)
	}
	r.cosigners = append(r.cosigners, ed25519Cosigner(l.origin))
	r.restart()
	if status, _ := r.add(l.request(0, 0, 3)); status != 404 {
		t.Errorf("status %d", status)
	}
}

func TestAddLogs(t *testing.T) {
	a, b := newTestLog(sumDatabase), newTestLog("b.example")
	r := newRig(t, a)
	other := a.config()
	other.Keys = b.config().Keys
	added, errs := r.w.AddLogs([]state.Log{newTestLog(witnessName).config(), other, b.config(), a.config()})
	if added != 1 || errs[0] == nil || !errors.Is(errs[1], state.ErrKeys) || !strings.Contains(errs[1].Error(), "only one") || errs[2] != nil || errs[3] != nil {
		t.Errorf("%d %v", added, errs)
	}
	r.mustAdd(a, 0, 0, 3)
	r.mustAdd(b, 0, 0, 3)
	if got := r.w.Logs(); len(got) != 2 || got[0].Origin != b.origin || got[1].Tree != a.tree(0, 3) || got[1].Time != startTime {
		t.Errorf("%+v", got)
	}
}

func TestRefresh(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	first := r.mustAdd(l, 0, 0, 7)
	if again := r.mustAdd(l, 0, 7, 7); again[0].String() != first[0].String() {
		t.Error("another cosignature in the same second")
	}
	if n := r.w.logs[l.origin].cosigned.Load(); n != 1 {
		t.Errorf("%d cosignatures made in one second", n)
	}
	r.clock.Add(1)
	second := r.mustAdd(l, 0, 7, 7)
	if got := timeOf(t, second); got != startTime+1 {
		t.Errorf("refreshed at %d", got)
	}
	// The same tree with another text is something new.
	n := l.note(l.tree(0, 7), "extension")
	status, sigs := r.add(checkpoint.AddRequest{Old: 7, Note: n.Bytes()})
	if status != 200 || timeOf(t, sigs) != startTime+1 {
		t.Errorf("status %d", status)
	}
	r.restart()
	if e, _ := r.store.Entry(l.origin); e.Time != startTime+1 {
		t.Errorf("time %d is stored", e.Time)
	}
}

// TestClock sets the clock back, and to nothing.
func TestClock(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	r.mustAdd(l, 0, 0, 7)
	for _, now := range []int64{startTime - 100, 0, -5} {
		r.clock.Store(now)
		r.restart()
		size := r.head(l).N
		if got := timeOf(t, r.mustAdd(l, 0, size, size+1)); got != startTime {
			t.Errorf("time %d after %d with the clock at %d", got, startTime, now)
		}
		if got := timeOf(t, r.mustAdd(l, 0, size+1, size+1)); got != startTime {
			t.Errorf("refreshed to time %d after %d with the clock at %d", got, startTime, now)
		}
	}
	fresh := newTestLog("b.example")
	if err := r.w.AddLog(fresh.config()); err != nil {
		t.Fatal(err)
	}
	if got := timeOf(t, r.mustAdd(fresh, 0, 0, 7)); got != 1 {
		t.Errorf("time %d", got)
	}
}

func TestRate(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t)
	limited := l.config()
	limited.QPD = 144 // one in ten minutes
	if err := r.w.AddLog(limited); err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for range minBurst {
		r.mustAdd(l, 0, size, size+1)
		size++
	}
	// What is not cosigned does not count, and costs the log nothing.
	for range 3 * minBurst {
		r.add(l.request(0, 0, 3))
		r.add(l.request(3, size, size+1))
	}
	refused := func() {
		t.Helper()
		resp := post(r.w, "/add-checkpoint", string(l.request(0, size, size+1).Bytes()))
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if resp.StatusCode != 429 || err != nil || after < 1 || after > 600 {
			t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	}
	refused()
	// Anybody can repeat the newest; that is never refused, and comes out of
	// another share.
	last := int64(0)
	for range 3 * minBurst {
		r.clock.Add(1)
		last = timeOf(t, r.mustAdd(l, 0, size, size))
	}
	if want := startTime + int64(minBurst); last != want {
		t.Errorf("refreshed until %d, not %d", last, want)
	}
	refused()
	r.clock.Add(600)
	r.mustAdd(l, 0, size, size+1)
	size++
	refused()
	// The rate is the log's that was added first, after a restart too.
	r.restart()
	for range minBurst {
		r.mustAdd(l, 0, size, size+1)
		size++
	}
	refused()
}

// TestDisable holds a request under way while its log is disabled.
func TestDisable(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	o := r.w.logs[l.origin]
	o.mu.Lock()
	result := make(chan int)
	go func() {
		_, err := r.w.Add(context.Background(), l.request(0, 0, 5).Bytes())
		result <- statusOf(err)
	}()
	if err := r.w.SetDisabled(l.origin, true); err != nil {
		t.Fatal(err)
	}
	o.mu.Unlock()
	if got := <-result; got != 404 {
		t.Errorf("status %d", got)
	}
	if err := r.w.AddLog(l.config()); err != nil {
		t.Fatal(err)
	}
	if status, _ := r.add(l.request(0, 0, 5)); status != 404 {
		t.Errorf("a log that was added again: status %d", status)
	}
	if err := r.w.SetDisabled(l.origin, false); err != nil {
		t.Fatal(err)
	}
	r.mustAdd(l, 0, 0, 5)
}

func statusOf(err error) int {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Status
	}
	return 200
}

func TestClosed(t *testing.T) {
	l := newTestLog("a.example")
	r := newRig(t, l)
	if err := r.w.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _ := r.add(l.request(0, 0, 5)); status != 503 {
		t.Errorf("status %d", status)
	}
}
