// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/log/quorum"
)

// A witness is one that does what it must and nothing else: it cosigns what is
// consistent with what it has seen, and shows it.
type witness struct {
	t        *testing.T
	cosigner *checkpoint.Cosigner
	url      string

	mu    sync.Mutex
	down  bool
	blind bool          // shows nothing
	hold  chan struct{} // if set, cosigns nothing before it is closed
	clock func() time.Time
	posts int // requests to cosign, also those that it failed
	asked int // those it did not
	views int
	tree  tlog.Tree
	note  []byte
}

func newWitness(t *testing.T, name string) *witness {
	t.Helper()
	c, err := checkpoint.NewCosigner(name+".example.net", ed25519.NewKeyFromSeed(bytes.Repeat([]byte(name), 32)[:32]))
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{t: t, cosigner: c, clock: time.Now}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func (w *witness) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// requests returns how often it was asked to cosign, and what it has seen.
func (w *witness) requests() (cosign, view int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked, w.views
}

func (w *witness) attempts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.posts
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	if hold := w.hold; hold != nil && r.Method == http.MethodPost {
		w.mu.Unlock()
		<-hold
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if r.Method == http.MethodGet {
		w.views++
	} else {
		w.posts++
	}
	switch {
	case w.down, w.blind && r.Method == http.MethodGet:
		http.Error(rw, "down", http.StatusBadGateway)
		return
	case r.Method == http.MethodGet && w.note == nil:
		http.NotFound(rw, r)
		return
	case r.Method == http.MethodGet:
		rw.Write(w.note)
		return
	}
	w.asked++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	req, err := checkpoint.ParseAddRequest(body)
	if err != nil {
		w.t.Errorf("request: %v", err)
		return
	}
	n, err := checkpoint.ParseNote(req.Note)
	if err != nil {
		w.t.Errorf("request: %v", err)
		return
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		w.t.Errorf("request: %v", err)
		return
	}
	if req.Old != w.tree.N {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", w.tree.N)
		return
	}
	if w.tree.N > 0 && tlog.CheckTree(req.Proof, c.Size, c.Root, w.tree.N, w.tree.Hash) != nil {
		http.Error(rw, "inconsistent", http.StatusUnprocessableEntity)
		return
	}
	s, err := w.cosigner.Cosign(c, w.clock().Unix())
	if err != nil {
		w.t.Error(err)
		return
	}
	w.tree = c.Tree()
	n.Signatures = append(n.Signatures, s)
	w.note = n.Bytes()
	io.WriteString(rw, s.String())
}

// startWitnessed opens and starts the log in dir under a policy that wants k of
// the witnesses.
func startWitnessed(t *testing.T, dir string, k int, evidence func(string, []byte), ws ...*witness) (*Log, error) {
	t.Helper()
	l, err := openWitnessed(t, dir, k, evidence, ws...)
	if err != nil {
		return nil, err
	}
	l.pause = 0
	return l, l.startForTest(t)
}

// startForTest starts l over an index in memory, and closes it if it does not.
func (l *Log) startForTest(t *testing.T) error {
	t.Helper()
	names := &memNames{l: l, m: make(map[module.Version]Entry)}
	if err := names.Publish(l.Published()); err != nil {
		t.Fatal(err)
	}
	err := l.Start(names)
	if err != nil {
		l.Close()
	}
	return err
}

func openWitnessed(t *testing.T, dir string, k int, evidence func(string, []byte), ws ...*witness) (*Log, error) {
	t.Helper()
	c := witnessedConfig(t, dir, k, ws...)
	c.Evidence = evidence
	return Open(c)
}

// witnessedConfig is that of a log under a policy that wants k of the witnesses.
func witnessedConfig(t *testing.T, dir string, k int, ws ...*witness) Config {
	t.Helper()
	return Config{Dir: dir, Logger: testLogger(t), Witnesses: newQuorum(t, dir, k, ws...), Interval: 10 * time.Millisecond}
}

// newQuorum returns the witnesses of the log in dir under a policy that wants k.
func newQuorum(t *testing.T, dir string, k int, ws ...*witness) *quorum.Quorum {
	t.Helper()
	var text strings.Builder
	group := fmt.Sprintf("group g %d", k)
	for i, w := range ws {
		fmt.Fprintf(&text, "witness w%d %s %s\n", i, w.cosigner.Key(), w.url)
		group += fmt.Sprintf(" w%d", i)
	}
	p, err := policy.Parse([]byte(text.String() + group + "\nquorum g\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, vkey, err := ReadVKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := checkpoint.ParseKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	q, err := quorum.New(quorum.Config{Policy: p, Log: key, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func mustStartWitnessed(t *testing.T, dir string, k int, ws ...*witness) *Log {
	t.Helper()
	l, err := startWitnessed(t, dir, k, nil, ws...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// cosigners counts the witnesses whose cosignature is on what is published.
func cosigners(t *testing.T, l *Log, ws ...*witness) (n int) {
	t.Helper()
	note, err := checkpoint.ParseNote(l.Published().Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ws {
		if _, err := note.Verify(w.cosigner.Key()); err == nil {
			n++
		}
	}
	return n
}

// eventually waits for f.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: never", what)
		}
	}
}

// TestWitnessed publishes with two of three, takes the third's cosignature in
// when it comes, and still shows them after a restart without any.
func TestWitnessed(t *testing.T) {
	dir := newDir(t)
	a, b, c := newWitness(t, "a"), newWitness(t, "b"), newWitness(t, "c")
	c.set(func() { c.down = true })
	l := mustStartWitnessed(t, dir, 2, a, b, c)
	for i := range 5 {
		if _, err := l.Append(t.Context(), record(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := cosigners(t, l, a, b, c); n != 2 {
		t.Errorf("%d cosignatures, want 2", n)
	}
	for p, err := range l.Publications(0) {
		if err != nil {
			t.Fatal(err)
		}
		if met, _ := l.witnesses.Met(p.Checkpoint); !met {
			t.Errorf("archived at size %d without a quorum", p.Size)
		}
	}
	if err, all := l.Admits(), l.Concerns(); err != nil || len(all) > 0 {
		t.Errorf("admits: %v; concerns: %q", err, all)
	}
	c.set(func() { c.down = false })
	for i := 5; cosigners(t, l, a, b, c) < 3 && i < 500; i++ {
		if _, err := l.Append(t.Context(), record(i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the third cosigns", func() bool { return cosigners(t, l, a, b, c) == 3 })
	size := l.Published().Size
	closeLog(t, l)

	for _, w := range []*witness{a, b, c} {
		w.set(func() { w.down = true })
	}
	l = mustStartWitnessed(t, dir, 2, a, b, c)
	defer closeLog(t, l)
	if l.Published().Size != size || cosigners(t, l, a, b, c) != 3 {
		t.Errorf("after a restart: size %d of %d, %d cosignatures of 3", l.Published().Size, size, cosigners(t, l, a, b, c))
	}
}

// TestQuorumLost takes the quorum away under appends. They are told, and so is who
// comes later; what they brought is published when the quorum is back, though nobody
// waits for it.
func TestQuorumLost(t *testing.T) {
	a, b := newWitness(t, "a"), newWitness(t, "b")
	l := mustStartWitnessed(t, newDir(t), 2, a, b)
	defer closeLog(t, l)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	b.set(func() { b.down, b.hold = true, hold })
	waiting := make(chan error, 2)
	for range cap(waiting) {
		go func() {
			_, err := l.Append(context.Background(), record(1))
			waiting <- err
		}()
	}
	eventually(t, "an append is on its way", func() bool { return l.onTheWay(record(1)) })
	close(hold)
	const want = "no quorum of witnesses (w1: refused)"
	refusedFor := func(who string, err error) {
		t.Helper()
		if e, ok := errors.AsType[*RefusedError](err); !ok || e.Reason != want || !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v", who, err)
		}
	}
	for range cap(waiting) {
		refusedFor("waiting", <-waiting)
	}
	for i := range 2 { // one on its way, and a new one
		_, err := l.Append(t.Context(), record(1+i))
		refusedFor("coming", err)
	}
	refusedFor("Admits", l.Admits())
	if all := l.Concerns(); len(all) != 1 || !strings.Contains(all[0], want) {
		t.Errorf("concerns: %q", all)
	}
	if p := l.Published(); p.Size != 1 || cosigners(t, l, a, b) != 2 {
		t.Errorf("published size %d with %d cosignatures", p.Size, cosigners(t, l, a, b))
	}
	b.set(func() { b.down = false })
	eventually(t, "what was on its way is published", func() bool { return l.Published().Size == 2 })
	eventually(t, "the log admits", func() bool { return l.Admits() == nil })
	for i := range 2 {
		if n, err := l.Append(t.Context(), record(1+i)); err != nil || n != int64(1+i) {
			t.Errorf("record %d: index %d, %v", 1+i, n, err)
		}
	}
}

// onTheWay reports whether r is in the tree and not published.
func (l *Log) onTheWay(r Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting[r.Module]
	return w != nil && w.index >= 0
}

// TestQuorumMissing has a witness that does not even say what it has seen: appends
// are told long before it is given up, and Close waits for none of them.
func TestQuorumMissing(t *testing.T) {
	a := newWitness(t, "a")
	a.set(func() { a.down = true })
	l, err := openWitnessed(t, newDir(t), 1, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.startForTest(t); err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	if _, err := l.Append(t.Context(), record(0)); !errors.Is(err, ErrBusy) {
		t.Errorf("append: %v", err)
	}
	begin := time.Now()
	if l.drain(time.Minute); time.Since(begin) > 30*time.Second {
		t.Errorf("waited %v for what cannot be published", time.Since(begin))
	}
}

// TestTail leaves an entry in the tree that was never published, because the
// quorum was lost, and restarts: its record must not get a second entry.
func TestTail(t *testing.T) {
	dir := newDir(t)
	a := newWitness(t, "a")
	l := mustStartWitnessed(t, dir, 1, a)
	if _, err := l.Append(t.Context(), record(1)); err != nil {
		t.Fatal(err)
	}
	a.set(func() { a.down = true })
	go l.Append(context.Background(), record(0))
	eventually(t, "the entry is in the tree", func() bool {
		tree, err := l.tree.state()
		return err == nil && tree.N == 2 && l.Admits() != nil
	})
	closeLog(t, l)
	l = mustStartWitnessed(t, dir, 1, a)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := l.Append(ctx, record(0)); !errors.Is(err, ErrBusy) {
		t.Errorf("append while the tail is not published: %v", err)
	}
	// What is refused for want of a quorum would be refused for the tail too.
	l.resume()
	if _, err := l.Append(ctx, record(0)); !errors.Is(err, ErrBusy) {
		t.Errorf("append while the tail is not published: %v", err)
	}
	a.set(func() { a.down = false })
	eventually(t, "the tail is published", func() bool { return l.Published().Size == 2 })
	i, err := l.Append(ctx, record(0))
	if err != nil || i != 1 {
		t.Errorf("append of the tail's record: index %d, %v", i, err)
	}
	closeLog(t, l)
}

// TestRefresh has a log that does not grow cosigned again when its cosignatures
// are old.
func TestRefresh(t *testing.T) {
	a := newWitness(t, "a")
	a.set(func() { a.clock = func() time.Time { return time.Now().Add(-MaxCosignatureAge - time.Minute) } })
	l := mustStartWitnessed(t, newDir(t), 1, a)
	defer closeLog(t, l)
	eventually(t, "it is cosigned", func() bool { _, ok := l.CosignatureAge(); return ok })
	if age, _ := l.CosignatureAge(); age < MaxCosignatureAge {
		t.Errorf("cosignatures are %v old", age)
	}
	if all := l.Concerns(); len(all) != 1 || !strings.Contains(all[0], "are 31m") {
		t.Errorf("concerns with old cosignatures: %q", all)
	}
	a.set(func() { a.clock = time.Now })
	eventually(t, "it is cosigned again", func() bool { return len(l.Concerns()) == 0 })
	if in := l.refreshInForTest(); in < RefreshAge-time.Minute {
		t.Errorf("the next time is in %v", in)
	}
	n := 0
	for _, err := range l.Publications(-1) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d lines in the archive, want 1: refreshed cosignatures are kept beside it", n)
	}
}

func (l *Log) refreshInForTest() time.Duration {
	_, oldest := l.witnesses.Met(l.Published().Checkpoint)
	return time.Until(oldest.Add(RefreshAge))
}

// TestAhead puts a whole older directory back, guard and all. A witness has seen
// more.
func TestAhead(t *testing.T) {
	for _, idle := range []bool{false, true} {
		t.Run(fmt.Sprintf("idle=%v", idle), func(t *testing.T) {
			dir := newDir(t)
			a := newWitness(t, "a")
			l := mustStartWitnessed(t, dir, 1, a)
			if _, err := l.Append(t.Context(), record(0)); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			older := copyDir(t, dir)
			l = mustStartWitnessed(t, dir, 1, a)
			if _, err := l.Append(t.Context(), record(1)); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)

			kept := make(chan string, 10)
			l, err := startWitnessed(t, older, 1, func(kind string, text []byte) { kept <- kind + "\n" + string(text) }, a)
			if err == nil {
				if !idle {
					go l.Append(context.Background(), record(2)) // another history
				}
				err = failure(l)
			}
			if !errors.Is(err, ErrUnsafe) {
				t.Errorf("an older directory: %v", err)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.tree.N != 2 {
				t.Errorf("the witness has size %d", a.tree.N)
			}
			text, _, _ := strings.Cut(string(a.note), "\n\n")
			select {
			case kept := <-kept:
				if !strings.Contains(kept, text) {
					t.Errorf("evidence without what the witness showed:\n%s", kept)
				}
				// Asked first, the witness shows more than was signed here. Of a larger
				// tree the tiles here prove nothing.
				wantEvidence(t, l, strings.TrimPrefix(kept, "ahead\n"), evidence.Stray)
			default:
				t.Error("no evidence")
			}
		})
	}
}

// failure returns why a log stopped signing, and closes it.
func failure(l *Log) (err error) {
	select {
	case err = <-l.Failed():
	case <-time.After(time.Minute):
		err = errors.New("went on")
	}
	l.Close()
	return err
}

// TestAheadAlone has no quorum that would answer, and one witness that shows
// what an older directory does not have.
func TestAheadAlone(t *testing.T) {
	dir := newDir(t)
	a, b := newWitness(t, "a"), newWitness(t, "b")
	l := mustStartWitnessed(t, dir, 2, a, b)
	older := copyDir(t, dir)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	b.set(func() { b.down = true })
	l, err := openWitnessed(t, older, 2, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	l.round = time.Second // for those who do not answer
	if err = l.startForTest(t); err == nil {
		err = failure(l)
	}
	if !errors.Is(err, ErrUnsafe) {
		t.Errorf("an older directory: %v", err)
	}
}

// TestTwice runs two copies of one directory. Both were what the witness had
// seen when they started.
func TestTwice(t *testing.T) {
	a := newWitness(t, "a")
	for size := range 2 { // of the second, when it is stopped, less one
		dir := newDir(t)
		a.set(func() { a.tree, a.note = tlog.Tree{}, nil })
		l := mustStartWitnessed(t, dir, 1, a)
		if _, err := l.Append(t.Context(), record(0)); err != nil {
			t.Fatal(err)
		}
		closeLog(t, l)
		other := copyDir(t, dir)
		_, before := a.requests()
		l = mustStartWitnessed(t, dir, 1, a)
		twin := mustStartWitnessed(t, other, 1, a)
		eventually(t, "both have asked", func() bool { _, n := a.requests(); return n == before+2 })
		for i := range 2 - size {
			if _, err := l.Append(t.Context(), record(1+i)); err != nil {
				t.Fatal(err)
			}
		}
		go twin.Append(context.Background(), record(9))
		if err := failure(twin); !errors.Is(err, ErrAhead) || !errors.Is(err, ErrUnsafe) {
			t.Errorf("a second history: %v", err)
		}
		if n := twin.Published().Size; n != 1 {
			t.Errorf("a second history was published: size %d", n)
		}
		closeLog(t, l)
	}
}

// TestConsult has a witness that would cosign and does not say what it has seen:
// nothing is signed.
func TestConsult(t *testing.T) {
	a := newWitness(t, "a")
	a.set(func() { a.blind = true })
	l, err := openWitnessed(t, newDir(t), 1, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	if all := l.Concerns(); len(all) != 1 || !strings.Contains(all[0], "is not cosigned") {
		t.Errorf("concerns without any cosignature: %q", all)
	}
	l.round = 100 * time.Millisecond
	l.names = &memNames{l: l, m: make(map[module.Version]Entry)}
	for range 2 { // as the publisher, which is not started, would
		if err := l.publish(); !errors.Is(err, quorum.ErrQuorum) || l.outage.why == nil {
			t.Errorf("published: %v", err)
		}
	}
	if n, _ := a.requests(); n > 0 {
		t.Errorf("asked %d times to cosign", n)
	}
	a.set(func() { a.blind = false })
	if err := l.publish(); err != nil || len(l.Concerns()) > 0 || l.outage.why != nil {
		t.Errorf("it says what it has seen: %v, %q", err, l.Concerns())
	}
}

// TestLate takes in what comes after the publication, and asks nobody for it.
func TestLate(t *testing.T) {
	dir := newDir(t)
	a, b := newWitness(t, "a"), newWitness(t, "b")
	l, err := openWitnessed(t, dir, 1, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	b.set(func() { b.hold = hold })
	if err := l.startForTest(t); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	if n := cosigners(t, l, a, b); n != 1 {
		t.Errorf("%d cosignatures, want 1", n)
	}
	before, _ := a.requests()
	close(hold)
	eventually(t, "the other cosigns", func() bool { return cosigners(t, l, a, b) == 2 })
	closeLog(t, l)
	if n, _ := a.requests(); n != before {
		t.Errorf("asked %d times for it", n-before)
	}
	if l, err = openWitnessed(t, dir, 1, nil, a, b); err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	if n := cosigners(t, l, a, b); n != 2 {
		t.Errorf("after a restart %d cosignatures, want 2", n)
	}
}

// TestClockBehind has a witness whose cosignatures are old when they are made.
// Asking it again at once would give no better ones.
func TestClockBehind(t *testing.T) {
	a := newWitness(t, "a")
	a.set(func() { a.clock = func() time.Time { return time.Now().Add(-RefreshAge - time.Minute) } })
	l, err := openWitnessed(t, newDir(t), 1, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.startForTest(t); err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	eventually(t, "it is cosigned", func() bool { _, ok := l.CosignatureAge(); return ok })
	a.set(func() { a.asked = 0 })
	for range 100 {
		l.wake()
		time.Sleep(5 * time.Millisecond)
	}
	if n, _ := a.requests(); n > 0 {
		t.Errorf("asked %d times more", n)
	}
}

// TestCosignedFile reads cosignatures that were kept beside the archive. Whatever
// became of the file, the log serves what its clients accept.
func TestCosignedFile(t *testing.T) {
	a := newWitness(t, "a")
	dir := newDir(t)
	l := mustStartWitnessed(t, dir, 1, a)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	note := l.Published().Checkpoint
	closeLog(t, l)
	a.set(func() { a.down = true })
	last := bytes.LastIndexByte(note, ' ')
	file := filepath.Join(dir, cosignedFile)
	write := func(text []byte) error { return os.WriteFile(file, text, 0o644) }
	for name, damage := range map[string]func() error{
		"rotten":    func() error { return write(slices.Concat(note[:last+20], []byte("AAAAAA"), note[last+26:])) },
		"torn":      func() error { return write(note[:len(note)-1]) },
		"zeros":     func() error { return write(make([]byte, len(note))) },
		"large":     func() error { return write(bytes.Repeat(note, 1+checkpoint.MaxNote/len(note))) },
		"unsigned":  func() error { return write(note[:bytes.LastIndex(note, []byte("— a"))]) },
		"directory": func() error { return errors.Join(os.RemoveAll(file), os.Mkdir(file, 0o755)) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		l, err := openWitnessed(t, dir, 1, nil, a)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if met, _ := l.witnesses.Met(l.Published().Checkpoint); !met {
			t.Errorf("%s: served\n%s", name, l.Published().Checkpoint)
		}
		closeLog(t, l)
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCosignedOfBefore starts a log that has grown since cosignatures were kept
// beside its archive: nothing is wrong then, and nothing is said. A note that is
// torn, or that this log has not signed, is damage.
func TestCosignedOfBefore(t *testing.T) {
	a := newWitness(t, "a")
	dir := newDir(t)
	l := mustStartWitnessed(t, dir, 1, a)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	file := filepath.Join(dir, cosignedFile)
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer := l.Published().Checkpoint
	warnings := func(dir string, note []byte) int {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, cosignedFile), note, 0o644); err != nil {
			t.Fatal(err)
		}
		errs := newErrorLog()
		l, err := Open(Config{Dir: dir, Logger: slog.New(errs)})
		if err != nil {
			t.Fatal(err)
		}
		closeLog(t, l)
		return errs.count("kept cosignatures")
	}
	if n := warnings(dir, kept); n != 0 || sameText(kept, newer) {
		t.Errorf("%d warnings about cosignatures of before:\n%s", n, kept)
	}
	other := newDir(t)
	ol, _ := start(t, other)
	foreign := ol.Published().Checkpoint
	closeLog(t, ol)
	for name, note := range map[string][]byte{"torn": kept[:len(kept)-1], "foreign": foreign} {
		if n := warnings(dir, note); n != 1 {
			t.Errorf("%s: %d warnings", name, n)
		}
	}
}

// TestLateOfBefore hands in what came late in the round before the last, which
// must not take the place of what is newer.
func TestLateOfBefore(t *testing.T) {
	a, b := newWitness(t, "a"), newWitness(t, "b")
	l, err := openWitnessed(t, newDir(t), 1, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	// As the publisher, which is not started, would.
	l.names = &memNames{l: l, m: make(map[module.Version]Entry)}
	b.set(func() { b.down = true })
	if err := l.publish(); err != nil {
		t.Fatal(err)
	}
	before, old := l.late, l.Published().Checkpoint
	l.asked, l.cosigned = time.Time{}, nil // as under a new policy
	if err := l.publish(); err != nil {
		t.Fatal(err)
	}
	before.Store(&old)
	fresh := l.Published().Checkpoint
	l.cosigned = append(bytes.Clone(fresh), "— x AAAAAAA=\n"...)
	if err := l.publish(); err != nil {
		t.Fatal(err)
	}
	if got := l.Published().Checkpoint; bytes.Equal(got, old) {
		t.Error("cosignatures of the round before are back")
	}
}

// TestSetPolicy: after a change of the policy its witnesses are asked what
// they have seen before anything is signed for them.
func TestSetPolicy(t *testing.T) {
	dir := newDir(t)
	a, b := newWitness(t, "a"), newWitness(t, "b")
	l := mustStartWitnessed(t, dir, 1, a)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	older := copyDir(t, dir)
	l = mustStartWitnessed(t, dir, 1, b)
	if _, err := l.Append(t.Context(), record(1)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)

	l = mustStartWitnessed(t, older, 1, a) // a has seen no more than this copy
	defer l.Close()
	eventually(t, "it is cosigned", func() bool { return len(l.Concerns()) == 0 })
	asked, _ := b.requests()
	p, err := policy.Parse(fmt.Appendf(nil, "witness w %s %s\nquorum w\n", b.cosigner.Key(), b.url))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-l.Failed():
		if !errors.Is(err, ErrAhead) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("went on")
	}
	if n, _ := b.requests(); n != asked {
		t.Errorf("it was asked to cosign %d times", n-asked)
	}
}

// TestSetPolicyClosed: a log that was closed before it was started keeps nobody
// waiting.
func TestSetPolicyClosed(t *testing.T) {
	a := newWitness(t, "a")
	l, err := openWitnessed(t, newDir(t), 1, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	got := make(chan error, 1)
	go func() { got <- l.SetPolicy(nil) }()
	select {
	case err := <-got:
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("SetPolicy waits")
	}
}

// TestAheadLate: a witness that nobody waits for any more shows another history.
// The log stops though it has nothing to publish.
func TestAheadLate(t *testing.T) {
	dir := newDir(t)
	a, b := newWitness(t, "a"), newWitness(t, "b")
	l := mustStartWitnessed(t, dir, 1, a)
	if _, err := l.Append(t.Context(), record(0)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	older := copyDir(t, dir)
	l = mustStartWitnessed(t, dir, 1, b)
	if _, err := l.Append(t.Context(), record(1)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)

	hold := make(chan struct{})
	b.set(func() { b.blind, b.hold = true, hold })
	l = mustStartWitnessed(t, older, 1, a, b)
	defer l.Close()
	if _, err := l.Append(t.Context(), record(2)); err != nil {
		t.Fatal(err)
	}
	b.set(func() { b.blind = false })
	close(hold)
	select {
	case err := <-l.Failed():
		if !errors.Is(err, ErrAhead) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("went on")
	}
}

// TestProve holds proofs against x/mod's verification, across tile boundaries.
func TestProve(t *testing.T) {
	const size = 300
	l, _ := start(t, grown(t, size))
	defer closeLog(t, l)
	roots := make([]tlog.Hash, size+1)
	for n := range int64(size + 1) {
		var err error
		if roots[n], err = l.tree.root(n, size); err != nil {
			t.Fatal(err)
		}
	}
	for old := range int64(size + 1) {
		p, err := l.tree.prove(old, size)
		if err != nil {
			t.Fatal(err)
		}
		if old == 0 || old == size {
			if len(p) != 0 {
				t.Errorf("proof from %d has %d hashes", old, len(p))
			}
			continue
		}
		if err := tlog.CheckTree(p, size, roots[size], old, roots[old]); err != nil {
			t.Errorf("proof from %d: %v", old, err)
		}
	}
	if _, err := l.tree.prove(size+1, size); err == nil {
		t.Error("a proof from a larger tree")
	}
}
