// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/mldsa"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
)

// auditor returns the i-th auditor. Those that are odd have keys of ML-DSA-44.
func auditor(i int) *checkpoint.Cosigner {
	seed := bytes.Repeat([]byte{byte(i), 'a'}, 16)
	var key crypto.Signer = ed25519.NewKeyFromSeed(seed)
	if i%2 == 1 {
		var err error
		if key, err = mldsa.NewPrivateKey(mldsa.MLDSA44(), seed); err != nil {
			panic(err)
		}
	}
	c, err := checkpoint.NewCosigner(fmt.Sprintf("audit%d.example.net", i), key)
	if err != nil {
		panic(err)
	}
	return c
}

func auditorKeys(n int) (keys []*checkpoint.Key) {
	for i := range n {
		keys = append(keys, auditor(i).Key())
	}
	return keys
}

// cosign returns the note with a cosignature of time t, and nothing else but the
// first signature.
func cosign(note []byte, c *checkpoint.Cosigner, t int64) []byte {
	n, err := checkpoint.ParseNote(note)
	if err != nil {
		panic(err)
	}
	cp, err := checkpoint.Parse(n.Text)
	if err != nil {
		panic(err)
	}
	sig, err := c.Cosign(cp, t)
	if err != nil {
		panic(err)
	}
	n.Signatures = append(n.Signatures[:1:1], sig)
	return n.Bytes()
}

// submission is what an auditor sends to have p cosigned at t, that knows what the
// log has of it.
func submission(l *Log, c *checkpoint.Cosigner, p *Publication, t int64) []byte {
	r := checkpoint.AddRequest{Note: cosign(p.Checkpoint, c, t)}
	if kept := l.audited.kept[c.Key().String()]; kept != nil {
		r.Old = kept.Size
	}
	if r.Old <= p.Size {
		var err error
		if r.Proof, err = l.tree.prove(r.Old, p.Size); err != nil {
			panic(err)
		}
	}
	return r.Bytes()
}

// startAudited starts a log in dir that knows n auditors.
func startAudited(t *testing.T, dir string, n int) *Log {
	t.Helper()
	l, err := Open(Config{Dir: dir, Logger: testLogger(t), Auditors: auditorKeys(n)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.startForTest(t); err != nil {
		t.Fatal(err)
	}
	return l
}

// submit posts a submission.
func submit(l *Log, body []byte) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	l.ServeHTTP(rec, httptest.NewRequest("POST", "/audited/add-checkpoint", bytes.NewReader(body)))
	return rec
}

func wantTaken(t *testing.T, l *Log, body []byte) {
	t.Helper()
	if rec := submit(l, body); rec.Code != http.StatusOK || rec.Body.Len() > 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// wantAudited checks that the log shows a checkpoint of size, which the auditors
// named have cosigned, each at the time given.
func wantAudited(t *testing.T, l *Log, size int64, times map[int]int64) {
	t.Helper()
	rec := httptest.NewRecorder()
	l.ServeHTTP(rec, httptest.NewRequest("GET", "/checkpoint/audited", nil))
	if rec.Code != http.StatusOK || rec.Header().Get("Cache-Control") != "no-cache" {
		t.Fatalf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	n, err := checkpoint.ParseNote(rec.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	key, err := checkpoint.ParseKey(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	p := &policy.Policy{Logs: []policy.Log{{Key: key}}, Quorum: policy.None}
	for i := range 9 {
		p.Witnesses = append(p.Witnesses, policy.Witness{Name: fmt.Sprint(i), Key: auditor(i).Key()})
	}
	r, err := p.Check(n)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, c := range r.Cosignatures {
		got[c.Witness] = c.Time.Unix()
	}
	want := make(map[string]int64)
	for i, at := range times {
		want[fmt.Sprint(i)] = at
	}
	if r.Checkpoint.Size != size || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("size %d cosigned at %v, want size %d, %v", r.Checkpoint.Size, got, size, want)
	}
}

// TestAudited has two auditors cosign what is published, and the log keep it.
func TestAudited(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 2)
	if _, err := get(l, "/checkpoint/audited"); err == nil {
		t.Error("a checkpoint that nobody cosigned is shown")
	}
	a, b := auditor(0), auditor(1)
	wantTaken(t, l, submission(l, a, l.Published(), 7)) // the empty tree
	fill(t, l, 0, 5)
	five := l.Published()
	fill(t, l, 5, 300)
	wantAudited(t, l, 0, map[int]int64{0: 7})
	wantTaken(t, l, submission(l, a, five, 8))
	wantAudited(t, l, 5, map[int]int64{0: 8})
	wantTaken(t, l, submission(l, b, l.Published(), 9))
	wantAudited(t, l, 300, map[int]int64{1: 9})
	wantTaken(t, l, submission(l, a, l.Published(), 10))
	wantAudited(t, l, 300, map[int]int64{0: 10, 1: 9})
	fill(t, l, 300, 310) // changes nothing
	wantAudited(t, l, 300, map[int]int64{0: 10, 1: 9})
	closeLog(t, l)

	// After a restart, and with one auditor less, and with none.
	l = startAudited(t, dir, 2)
	wantAudited(t, l, 300, map[int]int64{0: 10, 1: 9})
	closeLog(t, l)
	l = startAudited(t, dir, 1)
	wantAudited(t, l, 300, map[int]int64{0: 10})
	if rec := submit(l, submission(l, b, l.Published(), 11)); rec.Code != http.StatusForbidden {
		t.Errorf("by an auditor that is none any more: %d %s", rec.Code, rec.Body)
	}
	closeLog(t, l)
	l, _ = start(t, dir)
	defer closeLog(t, l)
	if _, err := get(l, "/checkpoint/audited"); err == nil {
		t.Error("without auditors, a checkpoint is shown as audited")
	}
	if rec := submit(l, []byte("old 0\n\n")); rec.Code != http.StatusNotFound {
		t.Errorf("without auditors: %d %s", rec.Code, rec.Body)
	}
}

// TestAuditedAhead has an auditor show what a copy of the directory signed: signing
// ends. What this directory has signed itself is no reason.
func TestAuditedAhead(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 1)
	fill(t, l, 0, 5)
	closeLog(t, l)
	twin := startAudited(t, copyDir(t, dir), 1)
	for i, kind := range []evidence.Kind{evidence.Stray, evidence.Equivocation, evidence.Fork} { // larger, of the same size, and smaller than the other's
		l = startAudited(t, copyDir(t, dir), 1)
		var kept []byte
		l.evidence = func(_ string, text []byte) { kept = text }
		if _, err := twin.Append(t.Context(), record(100+i)); err != nil {
			t.Fatal(err)
		}
		for j := range 2 * i {
			if _, err := l.Append(t.Context(), record(200+j)); err != nil {
				t.Fatal(err)
			}
		}
		shown := twin.Published()
		body := checkpoint.AddRequest{Note: cosign(shown.Checkpoint, auditor(0), 7)}
		if rec := submit(l, body.Bytes()); rec.Code != http.StatusUnprocessableEntity {
			t.Errorf("size %d: %d %s", shown.Size, rec.Code, rec.Body)
		}
		if err := failure(l); !errors.Is(err, ErrAhead) || !errors.Is(err, ErrUnsafe) {
			t.Errorf("size %d shown to size %d: %v", shown.Size, l.Published().Size, err)
		}
		wantEvidence(t, l, string(kept), kind)
		if text, _, _ := bytes.Cut(shown.Checkpoint, []byte("\n\n")); !bytes.Contains(kept, text) {
			t.Errorf("size %d: evidence %q", shown.Size, kept)
		}
	}
	closeLog(t, twin)
}

// wantEvidence checks what a log has kept against its own key.
func wantEvidence(t *testing.T, l *Log, text string, kind evidence.Kind) {
	t.Helper()
	e, err := evidence.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if e.Kind() != kind || e.Key().String() != l.VKey() || e.Origin() != l.Name() {
		t.Errorf("evidence %v, want %s", e, kind)
	}
}

// TestAuditedWitnesses shows that what witnesses said of a checkpoint stays on it,
// and that an auditor does not count for them.
func TestAuditedWitnesses(t *testing.T) {
	w1, w2 := newWitness(t, "w1"), newWitness(t, "w2")
	l, err := openWitnessed(t, newDir(t), 2, nil, w1, w2)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.openAudited(auditorKeys(1)); err != nil {
		t.Fatal(err)
	}
	if err := l.startForTest(t); err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	fill(t, l, 0, 3)
	wantTaken(t, l, submission(l, auditor(0), l.Published(), time.Now().Unix()))
	for range 2 { // while it is the newest, and when it is not
		text, err := get(l, "/checkpoint/audited")
		if err != nil {
			t.Fatal(err)
		}
		n, err := checkpoint.ParseNote(text)
		if err != nil {
			t.Fatal(err)
		}
		if sigs, err := n.Verify(w1.cosigner.Key(), w2.cosigner.Key(), auditor(0).Key()); err != nil || len(sigs) != 3 {
			t.Errorf("%d cosignatures, %v:\n%s", len(sigs), err, text)
		}
		fill(t, l, 3, 5)
	}
	if bytes.Contains(l.Published().Checkpoint, []byte("audit0")) {
		t.Errorf("an auditor cosigned what is published:\n%s", l.Published().Checkpoint)
	}
}

// TestAuditedRefuses sends what may not be taken. Nothing changes by it.
func TestAuditedRefuses(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 2)
	defer func() { closeLog(t, l) }()
	fill(t, l, 0, 5)
	five := l.Published()
	fill(t, l, 5, 20)
	twenty := l.Published()
	fill(t, l, 20, 30)
	a := auditor(0)
	wantTaken(t, l, submission(l, a, twenty, 100))

	truth := readTruth(t, l)
	proof := func(old, n int64) []tlog.Hash {
		p, err := tlog.ProveTree(n, old, truth)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	add := func(old int64, p []tlog.Hash, note []byte) []byte {
		return checkpoint.AddRequest{Old: old, Proof: p, Note: note}.Bytes()
	}
	thirty := l.Published().Checkpoint
	// What the key has signed and nobody published: the log would never do it.
	signed := func(name string, size int64, root tlog.Hash) []byte {
		s := *l.signer
		n, err := s.signCheckpoint(tlog.Tree{N: size, Hash: root})
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Replace(n, []byte(s.signer.Name()+"\n"), []byte(name+"\n"), 1)
	}
	root25, err := tlog.TreeHash(25, truth)
	if err != nil {
		t.Fatal(err)
	}
	good := cosign(thirty, a, 200)
	other, err := checkpoint.NewCosigner("stranger.example", ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	// A cosignature of the kind that sign-subtree gives: it does not say that it is of
	// the newest tree.
	subtree := func(size int64) []byte {
		n, err := checkpoint.ParseNote(thirty)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := auditor(1).CosignSubtree(checkpoint.Subtree{Origin: l.Name(), End: size, Hash: l.Published().Root})
		if err != nil {
			t.Fatal(err)
		}
		n.Signatures = append(n.Signatures, sig)
		return n.Bytes()
	}
	both := append(bytes.Clone(good), bytes.TrimPrefix(cosign(thirty, auditor(1), 200), thirty)...)
	for name, c := range map[string]struct {
		body   []byte
		status int
		want   string
	}{
		"empty":              {nil, 400, "malformed"},
		"no note":            {[]byte("old 20\n\n"), 400, "malformed"},
		"two spaces":         {bytes.Replace(add(20, proof(20, 30), good), []byte("old 20"), []byte("old  20"), 1), 400, "malformed"},
		"too large":          {append(add(20, proof(20, 30), good), make([]byte, maxSubmission)...), 413, "32768"},
		"no checkpoint":      {add(20, nil, bytes.Replace(good, []byte("\n30\n"), []byte("\n030\n"), 1)), 400, "malformed"},
		"another log":        {add(20, nil, cosign(signed("sum.example.com", 30, root25), a, 200)), 404, "sum.example.org/test"},
		"tree head":          {add(20, nil, l.Published().TreeHead), 404, "sum.example.org/test"},
		"not by the log":     {add(20, proof(20, 30), bytes.Replace(good, []byte("— sum.example.org/test "), []byte("— sum.example.com/test "), 1)), 403, "log: no signature"},
		"not by an auditor":  {add(20, proof(20, 30), thirty), 403, "auditor: no signature"},
		"by a stranger":      {add(20, proof(20, 30), cosign(thirty, other, 200)), 403, "auditor: no signature"},
		"bad cosignature":    {add(20, proof(20, 30), bytes.Replace(cosign(twenty.Checkpoint, a, 200), twenty.Checkpoint, thirty, 1)), 403, "auditor: bad signature"},
		"several":            {add(20, proof(20, 30), both), 400, "one at a time"},
		"old is larger":      {add(31, nil, good), 400, "larger"},
		"smaller":            {add(20, nil, cosign(five.Checkpoint, a, 200)), 400, "larger"},
		"old is 0":           {add(0, nil, good), 409, "20\n"},
		"old is another":     {add(5, proof(5, 30), good), 409, "20\n"},
		"smaller, old fits":  {add(5, nil, cosign(five.Checkpoint, a, 200)), 409, "20\n"},
		"no proof":           {add(20, nil, good), 422, "proof"},
		"another proof":      {add(20, proof(5, 30), good), 422, "proof"},
		"proof from nothing": {add(0, proof(20, 30), cosign(thirty, auditor(1), 200)), 422, "empty"},
		"not published":      {add(20, proof(20, 25), cosign(signed(l.Name(), 25, root25), a, 200)), 422, "published"},
		"larger":             {add(0, nil, cosign(signed(l.Name(), 31, root25), auditor(1), 200)), 422, "published"},
		"another tree":       {add(0, nil, cosign(signed(l.Name(), 30, root25), auditor(1), 200)), 422, "published"},
		"same size":          {add(20, nil, cosign(signed(l.Name(), 20, root25), a, 200)), 422, "proof"},
		"older":              {add(20, proof(20, 30), cosign(thirty, a, 99)), 422, "older"},
		"no time":            {add(0, nil, subtree(30)), 403, "without a time"},
	} {
		rec := submit(l, c.body)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
			t.Errorf("%s: %d %q, want %d %q", name, rec.Code, rec.Body, c.status, c.want)
		}
		wantType := typeText
		if c.status == 409 {
			wantType = "text/x.tlog.size"
		}
		if h := rec.Header(); h.Get("Content-Type") != wantType || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, h)
		}
		wantAudited(t, l, 20, map[int]int64{0: 100})
		if t.Failed() {
			break
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		rec := httptest.NewRecorder()
		l.ServeHTTP(rec, httptest.NewRequest(method, "/audited/add-checkpoint", nil))
		if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %d %v", method, rec.Code, rec.Header())
		}
	}
	// And after all that, what is right.
	wantTaken(t, l, add(20, proof(20, 30), good))
	wantAudited(t, l, 30, map[int]int64{0: 200})
}

// TestAuditedAgain sends the same and older cosignatures again, as anybody can:
// nothing is written, and nothing goes back.
func TestAuditedAgain(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 1)
	defer closeLog(t, l)
	fill(t, l, 0, 5)
	a := auditor(0)
	first := submission(l, a, l.Published(), 100)
	wantTaken(t, l, first)
	again := submission(l, a, l.Published(), 100)
	newer := submission(l, a, l.Published(), 101)
	wantTaken(t, l, newer)
	wantAudited(t, l, 5, map[int]int64{0: 101})
	name := filepath.Join(dir, auditedFile(a.Key()))
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{again, newer} {
		wantTaken(t, l, body)
		wantAudited(t, l, 5, map[int]int64{0: 101})
	}
	if rec := submit(l, first); rec.Code != http.StatusConflict {
		t.Errorf("from size 0: %d %s", rec.Code, rec.Body)
	}
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written again: %v", err)
	}
}

// TestAuditedRotten puts other bytes into what was kept. The log starts, and shows
// nothing that is false; and the auditor can come again.
func TestAuditedRotten(t *testing.T) {
	dir := newDir(t)
	l := startAudited(t, dir, 2)
	fill(t, l, 0, 5)
	a := auditor(0)
	wantTaken(t, l, submission(l, a, l.Published(), 100))
	wantTaken(t, l, submission(l, auditor(1), l.Published(), 100))
	closeLog(t, l)
	name := filepath.Join(dir, auditedFile(a.Key()))
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	others, err := os.ReadFile(filepath.Join(dir, auditedFile(auditor(1).Key())))
	if err != nil {
		t.Fatal(err)
	}
	long := append(bytes.Clone(good), bytes.Repeat([]byte("x"), checkpoint.MaxNote)...)
	bad := [][]byte{nil, good[:len(good)-1], others, long}
	for i := 0; i < len(good); i += 7 {
		b := bytes.Clone(good)
		b[i] ^= 1
		bad = append(bad, b)
	}
	for _, b := range bad {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := open(Config{Dir: dir, Auditors: auditorKeys(2)}, os.O_RDONLY)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		wantAudited(t, l, 5, map[int]int64{1: 100})
		if kept := l.audited.kept[a.Key().String()]; kept != nil {
			t.Errorf("%q is taken for the auditor's", b)
		}
		l.Close()
	}
	l = startAudited(t, dir, 2)
	defer closeLog(t, l)
	wantTaken(t, l, submission(l, a, l.Published(), 99))
	wantAudited(t, l, 5, map[int]int64{0: 99, 1: 100})
}

// TestAuditorKeys refuses keys that are no auditor's.
func TestAuditorKeys(t *testing.T) {
	dir := newDir(t)
	_, vkey, err := ReadVKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	own, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	for want, keys := range map[string][]*checkpoint.Key{
		"signs as a log does": {own},
		"given twice":         append(auditorKeys(2), auditor(1).Key()),
	} {
		if _, _, err := Check(Config{Dir: dir, Auditors: keys}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
