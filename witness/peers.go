// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package witness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/outbound"
	"example.org/sumlog/witness/state"
)

// A peerView is what the peers have shown of one log since the start.
type peerView struct {
	mu    sync.Mutex
	asked bool          // at least one has answered
	busy  chan struct{} // closed when those under way are done; nil: none
	again time.Time     // not to be asked before
	floor *peerHead     // the largest that is more than our state
}

// A peerHead is a checkpoint that a peer has shown. The log has signed it.
type peerHead struct {
	checkpoint.Checkpoint
	note checkpoint.Note
	own  bool  // cosigned by us
	time int64 // of that cosignature
}

const (
	peerTimeout = 5 * time.Second
	peerPause   = 2 * time.Second // after nobody has answered
)

// usePeers makes the client and checks the URLs.
func (w *Witness) usePeers() error {
	dialer := outbound.NewDialer(0)
	t := dialer.Transport()
	t.MaxIdleConnsPerHost, t.IdleConnTimeout, t.MaxResponseHeaderBytes = 8, time.Minute, 16<<10
	w.peers = &http.Client{
		Transport: t,
		// An operator names a peer; a peer does not name another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, p := range w.config.Peers {
		u, err := url.Parse(p)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("witness: peer %q: not an HTTP URL", p)
		}
		dialer.Name(u)
	}
	return nil
}

// askPeers makes sure that the peers were asked about a log since the start, and
// compares s with what they have seen.
func (w *Witness) askPeers(ctx context.Context, o *origin, s *submission) *Refusal {
	if o.peers == nil {
		return nil
	}
	v := o.peers
	for {
		v.mu.Lock()
		if v.asked {
			v.mu.Unlock()
			return w.compareFloor(ctx, o, s)
		}
		busy := v.busy
		if busy == nil {
			if wait := v.again.Sub(w.config.Now()); wait > 0 {
				v.mu.Unlock()
				return later(http.StatusServiceUnavailable, retryAfter, "no other witness could be asked what it has seen")
			}
			v.busy = make(chan struct{})
			v.mu.Unlock()
			w.survey(o)
			continue
		}
		v.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return later(http.StatusServiceUnavailable, retryAfter, "%v", ctx.Err())
		}
	}
}

// compareFloor refuses what is behind the peers. Once the state is not, it says
// what the floor did: the log is told its size then, as always.
func (w *Witness) compareFloor(ctx context.Context, o *origin, s *submission) *Refusal {
	f := o.floor()
	if f == nil || s.Size > f.Size {
		return nil
	}
	e, ok := w.config.Store.Entry(o.name)
	switch {
	case s.Size < f.Size && ok && f.Size <= e.Tree.N:
		return nil
	case s.Size < f.Size:
		return later(http.StatusServiceUnavailable, retryAfter, "another witness has seen size %d of this log, and this one is behind", f.Size)
	case s.Root != f.Root:
		o.inconsistent.Add(1)
		if ok && !o.isAccused(s.Tree()) && w.keep(ctx, e.Log, f.note, s.note, nil) {
			o.setAccused(s.Tree())
		}
		return refuse(http.StatusUnprocessableEntity, "another witness has seen another root of this size")
	}
	return nil
}

// floor returns the largest checkpoint that the peers have shown, nil if there is
// none.
func (o *origin) floor() *peerHead {
	if o.peers == nil {
		return nil
	}
	return o.peers.floor // not changed after asked, which askPeers has waited for
}

// extendsFloor checks that s follows on what a peer has shown.
func (w *Witness) extendsFloor(ctx context.Context, o *origin, e state.Entry, s *submission, f *peerHead) *Refusal {
	if refusal := w.stopped(); refusal != nil {
		return refusal
	}
	refusal := s.consistent(f.Tree())
	if refusal != nil {
		o.inconsistent.Add(1)
		if !o.isAccused(s.Tree()) && w.keep(ctx, e.Log, f.note, s.note, s.Proof) {
			o.setAccused(s.Tree())
		}
	}
	return refusal
}

// survey asks all peers about one log. It is not the request's: others wait for
// it too.
func (w *Witness) survey(o *origin) {
	ctx, cancel := context.WithTimeout(w.ctx, peerTimeout)
	defer cancel()
	e, _ := w.config.Store.Entry(o.name)
	heads := make([]*peerHead, len(w.config.Peers))
	errs := make([]error, len(w.config.Peers))
	var wg sync.WaitGroup
	for i, p := range w.config.Peers {
		wg.Go(func() { heads[i], errs[i] = w.askPeer(ctx, p, e.Log) })
	}
	wg.Wait()
	answers := 0
	var floor *peerHead
	for i, h := range heads {
		if errs[i] != nil {
			w.config.Logger.Warn("peer did not answer", "peer", w.config.Peers[i], "origin", o.name, "err", errs[i])
			continue
		}
		answers++
		if h != nil {
			floor = w.weigh(ctx, e, h, floor, w.config.Peers[i])
		}
	}
	v := o.peers
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked, v.floor = answers > 0, floor
	v.again = w.config.Now().Add(peerPause)
	close(v.busy)
	v.busy = nil
}

// weigh compares a peer's newest checkpoint with the state and with the floor so
// far, and returns the new floor.
func (w *Witness) weigh(ctx context.Context, e state.Entry, h, floor *peerHead, peer string) *peerHead {
	never := e.Time == 0
	forks := h.Size == e.Tree.N && !never && h.Root != e.Tree.Hash
	if h.own && (never || h.Size > e.Tree.N || forks || h.time > e.Time) {
		w.config.Logger.Error("peer shows a cosignature of ours that the state does not know", "peer", peer, "note", string(h.note.Bytes()))
		w.fail(fmt.Errorf("%w: %s shows size %d of %q, cosigned by this witness at time %d, and the state is at size %d and time %d: it was put back",
			state.ErrUnsafe, peer, h.Size, h.Origin, h.time, e.Tree.N, e.Time))
	}
	if forks {
		if text, err := w.config.Store.Note(e.Origin); err == nil {
			if stored, err := checkpoint.ParseNote(text); err == nil {
				w.keep(ctx, e.Log, stored, h.note, nil)
			}
		}
	}
	if floor != nil && floor.Size == h.Size && floor.Root != h.Root {
		w.keep(ctx, e.Log, floor.note, h.note, nil)
	}
	if !never && h.Size <= e.Tree.N || floor != nil && h.Size <= floor.Size {
		return floor
	}
	w.config.Logger.Warn("peer has seen more than the state has", "peer", peer, "origin", e.Origin, "peer_size", h.Size, "size", e.Tree.N)
	return h
}

// askPeer asks a peer for its newest checkpoint of a log, nil if it has none.
func (w *Witness) askPeer(ctx context.Context, peer string, l state.Log) (*peerHead, error) {
	url := fmt.Sprintf("%s/%x/checkpoint", strings.TrimRight(peer, "/"), sha256.Sum256([]byte(l.Origin)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := w.peers.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, checkpoint.MaxNote+1))
	if err != nil {
		return nil, err
	}
	return w.parsePeer(body, l)
}

// parsePeer parses a peer's checkpoint. One that the log has not signed says
// nothing, whoever has cosigned it.
func (w *Witness) parsePeer(body []byte, l state.Log) (*peerHead, error) {
	n, err := checkpoint.ParseNote(body)
	if err != nil {
		return nil, err
	}
	sigs, err := n.Verify(l.Keys...)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return nil, err
	}
	if c.Origin != l.Origin {
		return nil, fmt.Errorf("checkpoint of the origin %.100q", c.Origin)
	}
	if c.Size == 0 && c.Root != emptyRoot {
		return nil, errors.New("root of size 0 is not the empty tree's")
	}
	h := &peerHead{Checkpoint: c, note: checkpoint.Note{Text: n.Text, Signatures: sigs}}
	// A bad line in our name is no cosignature, and good ones beside it stay good.
	for _, k := range w.keys {
		for _, sig := range n.Signatures {
			if sig.Name == k.Name() && sig.ID == k.ID() && k.Verify(n.Text, sig.Bytes) {
				t, _ := sig.Time()
				h.own, h.time = true, max(h.time, t)
				h.note.Signatures = append(h.note.Signatures, sig)
			}
		}
	}
	return h, nil
}
