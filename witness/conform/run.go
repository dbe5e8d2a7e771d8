// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

// A run is what the suite knows of the witness. Cases run one after the other.
type run struct {
	cfg    Config
	client *client
	log    *LogKey

	// What the witness has of the log, to go by its answers.
	tree tree
	size int64

	tried    []tree // what the case has submitted
	careless bool   // it took, to begin with, an old size that it did not have
}

func newRun(cfg Config) (*run, error) {
	if cfg.LogKey == nil {
		return nil, errors.New("no log key")
	}
	cfg.Monitor = cmp.Or(cfg.Monitor, cfg.URL)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Wait = cmp.Or(cfg.Wait, 30*time.Second)
	cfg.Skew = cmp.Or(cfg.Skew, time.Minute)
	for _, k := range cfg.Witness {
		if !k.Algorithm().Cosigns() {
			return nil, fmt.Errorf("key %s: of a log, not of a witness", k.Name())
		}
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &run{cfg: cfg, client: c, log: cfg.LogKey}, nil
}

// A submission is a request to add a checkpoint.
type submission struct {
	tree  tree
	old   int64
	size  int64
	proof []tlog.Hash
	note  checkpoint.Note
}

// from returns the submission that takes the witness from one size of its tree to
// another.
func (r *run) from(old, size int64) submission {
	return submission{r.tree, old, size, r.tree.proof(old, size), r.note(r.tree, size)}
}

// next returns the submission that makes the witness's tree grow. Its proof has
// three hashes at least.
func (r *run) next() submission {
	size := r.size + 1
	for r.size > minSize && len(r.tree.proof(r.size, size)) < 3 {
		size++
	}
	return r.from(r.size, size)
}

// again returns the submission of what the witness has.
func (r *run) again() submission { return r.from(r.size, r.size) }

func (r *run) checkpoint(t tree, size int64, ext ...string) checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Origin: r.log.origin(), Size: size, Root: t.root(size), Extensions: ext}
}

// note returns a checkpoint, signed.
func (r *run) note(t tree, size int64, ext ...string) checkpoint.Note {
	return r.signed(r.checkpoint(t, size, ext...).Text())
}

func (r *run) signed(text string) checkpoint.Note {
	return checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{r.log.sign(text)}}
}

// body returns the request as the specification wants it.
func (s submission) body() []byte {
	return checkpoint.AddRequest{Old: s.old, Proof: s.proof, Note: s.note.Bytes()}.Bytes()
}

// send submits s.
func (r *run) send(ctx context.Context, s submission) (answer, error) {
	return r.sendBody(ctx, s, s.body())
}

// sendBody submits s in another form.
func (r *run) sendBody(ctx context.Context, s submission, body []byte) (answer, error) {
	r.tried = append(r.tried, s.tree)
	a, err := r.client.post(ctx, "add-checkpoint", body)
	if err == nil && a.status == http.StatusOK {
		r.tree, r.size = s.tree, s.size
	}
	return a, err
}

// accepted submits what the witness must take.
func (r *run) accepted(ctx context.Context, s submission) (answer, error) {
	a, err := r.send(ctx, s)
	if err != nil {
		return a, err
	}
	if a.status != http.StatusOK {
		return a, fmt.Errorf("%v, want 200 for old %d and size %d", a, s.old, s.size)
	}
	return a, nil
}

// refused submits what the witness must answer with one of the statuses, without
// a cosignature and without keeping anything of it.
func (r *run) refused(ctx context.Context, s submission, want ...int) error {
	_, err := r.refusedBody(ctx, s, s.body(), want...)
	return err
}

func (r *run) refusedBody(ctx context.Context, s submission, body []byte, want ...int) (answer, error) {
	a, err := r.sendBody(ctx, s, body)
	if err != nil {
		return a, err
	}
	if a.status == http.StatusOK {
		return a, fmt.Errorf("status 200, want %s", orList(want))
	}
	if r.cosigns(a, s.note.Text) {
		return a, fmt.Errorf("status %d with a cosignature", a.status)
	}
	if err := r.unchanged(ctx); err != nil {
		return a, fmt.Errorf("status %d, but then %w", a.status, err)
	}
	if !slices.Contains(want, a.status) {
		return a, otherStatus(fmt.Sprintf("%v, want %s", a, orList(want)))
	}
	return a, nil
}

// An otherStatus is a refusal, without consequences, with another status than the
// right one.
type otherStatus string

func (s otherStatus) Error() string { return string(s) }

func orList(want []int) string {
	s := ""
	for i, n := range want {
		if i > 0 {
			s += " or "
		}
		s += strconv.Itoa(n)
	}
	return s
}

// unchanged checks that the witness has what the suite last saw it take: it
// refreshes its cosignature, or, where it does not, it names the size at least.
func (r *run) unchanged(ctx context.Context) error {
	want := r.size
	if want > 0 {
		a, err := r.client.post(ctx, "add-checkpoint", r.again().body())
		if err != nil {
			return err
		}
		if a.status == http.StatusOK {
			return nil
		}
	}
	size, err := r.ask(ctx)
	if err != nil {
		return err
	}
	if size != want {
		return fmt.Errorf("the witness had size %d and has size %d", want, size)
	}
	return nil
}

// elsewhere returns a submission that begins where the witness cannot be.
func (r *run) elsewhere() submission {
	if r.size == 0 {
		// To a witness that does not compare the sizes, this is a first one.
		n := 1<<40 + rand.Int64N(1<<40)
		return r.from(n, n)
	}
	s := r.from(r.size, r.size+1)
	s.old, s.proof = 0, nil
	return s
}

// errUnclear says that an answer has no size.
var errUnclear = errors.New("no size")

var sizeRE = regexp.MustCompile(`^\s*([0-9]{1,19})\s*$`)

// conflictSize reads the size in an answer of 409. Its form is the business of
// one case; all others read it as well as it goes.
func conflictSize(a answer) (int64, error) {
	m := sizeRE.FindSubmatch(a.body)
	if a.status != http.StatusConflict || m == nil {
		return 0, fmt.Errorf("%w in the answer to a wrong old size: %v", errUnclear, a)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %v", errUnclear, err)
	}
	return n, nil
}

// ask returns the size that the witness has, from its refusal.
func (r *run) ask(ctx context.Context) (int64, error) {
	a, err := r.send(ctx, r.elsewhere())
	if err != nil {
		return 0, err
	}
	switch a.status {
	case http.StatusOK:
		return r.size, nil
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 0, fmt.Errorf("%w: %v", errNoAnswer, a) // by what is before the witness
	}
	return conflictSize(a)
}

// minSize is where the cases begin that need entries to play with.
const minSize = 1000

// maxSize leaves room for a run.
const maxSize = 1 << 61

// begin learns what the witness has.
func (r *run) begin(ctx context.Context) error {
	s := r.elsewhere()
	a, err := r.send(ctx, s)
	if err != nil {
		return err
	}
	switch a.status {
	case http.StatusOK:
		r.careless = true
		return nil
	case http.StatusNotFound, http.StatusForbidden:
		return fmt.Errorf("%v: the witness does not accept the log; it must know %v", a, r.log.Key())
	}
	if err := r.learn(ctx, a); err != nil {
		return err
	}
	return r.recognise(ctx)
}

// learn sets the size from a refusal or, if that has none, from the monitoring
// prefix or by beginning from nothing.
func (r *run) learn(ctx context.Context, refusal answer) error {
	size, err := conflictSize(refusal)
	if err != nil {
		cp, ok := r.shown(ctx)
		if !ok {
			return r.startOver(ctx, refusal)
		}
		size = cp.Size
	}
	// All sizes that are computed from it stay below 2^62.
	if size > maxSize {
		return fmt.Errorf("the witness has size %d: no room for a run", size)
	}
	r.size = size
	return nil
}

// startOver tries whether a witness that does not say its size has none.
func (r *run) startOver(ctx context.Context, refusal answer) error {
	r.size, r.tree = 0, tree{}
	a, err := r.send(ctx, r.from(0, minSize))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%v: the size that the witness has is not to be learnt from that", refusal)
	}
	return nil
}

// shown returns the checkpoint at the monitoring prefix, if it is one by the log.
func (r *run) shown(ctx context.Context) (checkpoint.Checkpoint, bool) {
	a, err := r.client.head(ctx, r.log.origin())
	if err != nil || a.status != http.StatusOK {
		return checkpoint.Checkpoint{}, false
	}
	n, err := checkpoint.ParseNote(a.body)
	if err != nil {
		return checkpoint.Checkpoint{}, false
	}
	if _, err := n.Verify(r.log.Key()); err != nil {
		return checkpoint.Checkpoint{}, false
	}
	cp, err := checkpoint.Parse(n.Text)
	return cp, err == nil && cp.Origin == r.log.origin()
}

// recognise finds out which tree the witness has at r.size.
func (r *run) recognise(ctx context.Context) error {
	if r.size == 0 {
		r.tree = tree{}
		return nil
	}
	trees := append([]tree{r.tree, {}}, r.tried...)
	for _, grown := range []int64{0, 1} {
		for _, t := range slices.Compact(trees) {
			s := submission{t, r.size, r.size + grown, t.proof(r.size, r.size+grown), r.note(t, r.size+grown)}
			a, err := r.send(ctx, s)
			if err != nil {
				return err
			}
			if a.status == http.StatusOK {
				return nil
			}
		}
	}
	if cp, ok := r.shown(ctx); ok && cp.Size == r.size && cp.Root == (tree{}).root(r.size) {
		r.tree = tree{}
		return nil
	}
	return fmt.Errorf("the witness has, at size %d, another tree than the suite's: the log key is in use elsewhere, or the witness took a fork in an earlier run; use a new key", r.size)
}

// locate learns again, after a case that failed, where the witness is.
func (r *run) locate(ctx context.Context) error {
	tried := r.tried
	var a answer
	err := r.patiently(ctx, func() (err error) {
		a, err = r.send(ctx, r.elsewhere())
		return err
	})
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return nil // it takes any old size: it is where this has brought it
	}
	if err := r.learn(ctx, a); err != nil {
		return err
	}
	r.tried = tried
	return r.recognise(ctx)
}

// patiently repeats f for as long as the witness does not answer, within the
// longest wait.
func (r *run) patiently(ctx context.Context, f func() error) error {
	until := time.Now().Add(r.cfg.Wait)
	for {
		err := f()
		if !errors.Is(err, errNoAnswer) || time.Now().After(until) {
			return err
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// grown makes sure that the witness has some entries of the log.
func (r *run) grown(ctx context.Context) error {
	if r.size >= minSize {
		return nil
	}
	_, err := r.accepted(ctx, r.from(r.size, minSize+r.size%7))
	return err
}

// cosignatures parses an answer of 200: signature lines, nothing else.
func cosignatures(a answer) ([]checkpoint.Signature, error) {
	body := string(a.body)
	if body == "" {
		return nil, errors.New("empty answer, want signature lines")
	}
	n, err := checkpoint.ParseNote([]byte("x\n\n" + body))
	if err != nil || n.Text != "x\n" {
		return nil, fmt.Errorf("answer %.120q: want signature lines, each with its newline, and nothing else (%v)", body, err)
	}
	return n.Signatures, nil
}

// verified returns the cosignatures in an answer by keys of the witness, or, if
// there are no keys to verify with, all signatures.
func (r *run) verified(a answer, text string) ([]checkpoint.Signature, error) {
	sigs, err := cosignatures(a)
	if err != nil || len(r.cfg.Witness) == 0 {
		return sigs, err
	}
	sigs, err = checkpoint.Note{Text: text, Signatures: sigs}.Verify(r.cfg.Witness...)
	if err != nil {
		return nil, fmt.Errorf("cosignature: %w", err)
	}
	return sigs, nil
}

// cosigns reports whether there is a cosignature of text in an answer.
func (r *run) cosigns(a answer, text string) bool {
	for line := range strings.SplitSeq(string(a.body), "\n") {
		s, err := checkpoint.ParseSignature(line)
		if err != nil {
			continue
		}
		if _, err := (checkpoint.Note{Text: text, Signatures: []checkpoint.Signature{s}}).Verify(r.cfg.Witness...); err == nil {
			return true
		}
	}
	return false
}
