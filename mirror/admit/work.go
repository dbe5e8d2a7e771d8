// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
)

// work brings about what t wants. If it fails, atZip says that a task without
// the zip might have succeeded.
func (s *Service) work(ctx context.Context, t task) (atZip bool, err error) {
	e, found, err := s.find(t.mod)
	if err != nil {
		return false, err
	}
	chain, private, err := s.c.Router.For(t.mod.Path)
	if err != nil {
		return false, err
	}
	release, err := s.slot(ctx, s.slots[place(private)])
	if err != nil {
		return false, err
	}
	defer release()
	switch {
	case found:
		return s.refill(ctx, chain, e, t.zip)
	case private || s.c.Database == nil:
		return false, s.compute(ctx, chain, t.mod)
	}
	return s.prove(ctx, chain, t)
}

// An origin is what one source says of a version.
type origin struct {
	src       Source
	info, mod []byte
}

// fetch gets the .info and .mod of m from one source: the one that gave the
// .info, be it a moment ago, or, if that lacks the .mod, the next one of chain
// that has both. Of many versions a module cache, which can be an upstream, has
// a part of the files, and that says nothing of the sources behind it.
func (s *Service) fetch(ctx context.Context, chain Chain, m module.Version) (origin, error) {
	a, err := s.ask(ctx, infoOf(m), maxAsking)
	if err != nil {
		return origin{}, err
	}
	return s.whole(ctx, chain, m, origin{src: a.src, info: a.data})
}

// fetchAfter is fetch from the sources behind src, whose copy is not whole.
func (s *Service) fetchAfter(ctx context.Context, chain Chain, m module.Version, src Source) (c origin, err error) {
	name, err := store.Name(m, store.Info)
	if err != nil {
		return c, err
	}
	chain = chain.After(src)
	if c.info, c.src, err = chain.Get(ctx, name, store.MaxInfo); err != nil {
		return c, err
	}
	if _, err := store.ParseInfo(c.info, m); err != nil {
		return c, &GarbageError{err}
	}
	return s.whole(ctx, chain, m, c)
}

// whole gets the .mod for a .info.
func (s *Service) whole(ctx context.Context, chain Chain, m module.Version, c origin) (origin, error) {
	name, err := store.Name(m, store.Mod)
	if err != nil {
		return origin{}, err
	}
	if c.mod, err = c.src.Get(ctx, name, store.MaxMod); errors.Is(err, fs.ErrNotExist) {
		if next, nerr := s.fetchAfter(ctx, chain, m, c.src); !errors.Is(nerr, fs.ErrNotExist) {
			return next, nerr
		}
	}
	return c, err
}

// download gets the zip of m, from src or, if that is nil, from whichever
// source has it.
func (s *Service) download(ctx context.Context, chain Chain, src Source, m module.Version) (*store.ZipFile, Source, error) {
	name, err := store.Name(m, store.Zip)
	if err != nil {
		return nil, nil, err
	}
	z, err := s.c.Store.NewZip(m)
	if err != nil {
		return nil, nil, local(err)
	}
	if src != nil {
		err = src.Download(ctx, name, z, store.MaxZip)
	} else {
		src, err = chain.Download(ctx, name, z, store.MaxZip)
	}
	if err != nil {
		z.Abort()
		return nil, nil, err
	}
	return z, src, nil
}

// downloadBound is download for a zip that a record binds to its .mod: if src
// lacks it, a source behind src may give it.
func (s *Service) downloadBound(ctx context.Context, chain Chain, src Source, m module.Version) (*store.ZipFile, Source, error) {
	z, from, err := s.download(ctx, chain, src, m)
	if src == nil || !errors.Is(err, fs.ErrNotExist) {
		return z, from, err
	}
	if z, from, err := s.download(ctx, chain.After(src), nil, m); !errors.Is(err, fs.ErrNotExist) {
		return z, from, err
	}
	return nil, nil, err
}

// prove admits a public version with the record that the database proves.
func (s *Service) prove(ctx context.Context, chain Chain, t task) (atZip bool, err error) {
	var rec log.Record
	var c origin
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		rec, err = s.c.Database.Record(gctx, t.mod)
		return err
	})
	g.Go(func() (err error) {
		c, err = s.fetch(gctx, chain, t.mod)
		return err
	})
	if err := g.Wait(); err != nil {
		return false, err
	}
	if rec.Module != t.mod {
		return false, fmt.Errorf("%s: the checksum database gave a record of %s", t.mod, rec.Module)
	}
	e := log.Entry{Index: -1, Record: rec}
	if err := s.c.Store.PutMod(rec, c.info, c.mod); err != nil {
		return false, s.judge(e, c.src, err)
	}
	if t.zip {
		z, src, err := s.downloadBound(ctx, chain, c.src, t.mod)
		if err != nil {
			return true, err
		}
		if err := s.c.Store.PutZip(ctx, rec, z); err != nil {
			return true, s.judge(e, src, err)
		}
	}
	if err := s.append(ctx, rec); err != nil {
		return false, err
	}
	if !t.zip {
		s.later(t.mod)
	}
	return false, nil
}

// compute admits a version that only its own bytes speak for. They are stored
// durably before the append: afterwards they are the only ones that fit.
func (s *Service) compute(ctx context.Context, chain Chain, m module.Version) error {
	// The .info must be of the copy that the record is of: of a version that
	// was made anew since, an older one is not.
	if a, ok := s.answers.Get(infoOf(m)); ok && time.Since(a.at) > patience {
		s.answers.Delete(infoOf(m))
	}
	c, err := s.fetch(ctx, chain, m)
	if err != nil {
		return err
	}
	z, _, err := s.download(ctx, chain, c.src, m)
	for errors.Is(err, fs.ErrNotExist) {
		next, nerr := s.fetchAfter(ctx, chain, m, c.src)
		switch {
		case errors.Is(nerr, fs.ErrNotExist):
			return err
		case nerr != nil:
			return nerr
		}
		c = next
		z, _, err = s.download(ctx, chain, c.src, m)
	}
	if err != nil {
		return err
	}
	defer z.Abort()
	rec, err := s.c.Store.Compute(ctx, z, c.mod)
	if err != nil {
		return s.judge(log.Entry{}, c.src, err)
	}
	e := log.Entry{Index: -1, Record: rec}
	if err := s.c.Store.PutZip(ctx, rec, z); err != nil {
		return s.judge(e, c.src, err)
	}
	if err := s.c.Store.PutMod(rec, c.info, c.mod); err != nil {
		return s.judge(e, c.src, err)
	}
	return s.append(ctx, rec)
}

// append appends rec and makes known that it is there.
func (s *Service) append(ctx context.Context, rec log.Record) error {
	if s.c.Expect != nil {
		if err := s.c.Expect(rec); err != nil {
			return err
		}
	}
	_, err := s.c.Log.Append(ctx, rec)
	var conflict *log.ConflictError
	if errors.As(err, &conflict) {
		s.evidence("conflict", rec.Module, conflictText(conflict))
		return err
	}
	if err != nil {
		return local(err)
	}
	s.published(rec.Module)
	return nil
}

// published does what is due once m is in the published log.
func (s *Service) published(m module.Version) {
	s.refused.Delete(task{m, false})
	s.refused.Delete(task{m, true})
	s.outdate(m)
	// The list is for those who read the tree without this server. It does
	// not decide whether the version is admitted.
	if err := s.c.Store.Publish(m); err != nil {
		s.log.Error("list of the stored tree not updated", "module", m.String(), "err", err)
	}
}

// refill fetches what the store lacks of a logged version.
func (s *Service) refill(ctx context.Context, chain Chain, e log.Entry, zip bool) (atZip bool, err error) {
	rec := e.Record
	var src Source
	both, err := s.haveAll(ctx, rec, store.Info, store.Mod)
	if err != nil {
		return false, err
	}
	if !both {
		c, err := s.fetch(ctx, chain, rec.Module)
		if err != nil {
			return false, err
		}
		if err := s.c.Store.PutMod(rec, c.info, c.mod); err != nil {
			return false, s.judge(e, c.src, err)
		}
		src = c.src
		s.published(rec.Module)
	}
	if !zip {
		return false, nil
	}
	if ok, err := s.have(ctx, rec, store.Zip); ok || err != nil {
		return false, err
	}
	z, src, err := s.downloadBound(ctx, chain, src, rec.Module)
	if err != nil {
		return true, err
	}
	if err := s.c.Store.PutZip(ctx, rec, z); err != nil {
		return true, s.judge(e, src, err)
	}
	return false, nil
}

func (s *Service) haveAll(ctx context.Context, rec log.Record, kinds ...store.Kind) (bool, error) {
	for _, k := range kinds {
		if ok, err := s.have(ctx, rec, k); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// A MismatchError reports that an upstream has other bytes than those of a
// record that is logged or proven.
type MismatchError struct {
	Entry log.Entry // Index -1: not logged, the record is the database's
	Kind  store.Kind
	Want  string // the hash of the record
	Got   string // that of the bytes
}

func (e *MismatchError) Error() string {
	what := e.Entry.Record.Module.String()
	if e.Kind == store.Mod {
		what += "/go.mod"
	}
	if e.Entry.Index < 0 {
		return fmt.Sprintf("verifying %s: checksum mismatch: the checksum database has %s, upstream has %s; nothing was logged", what, e.Want, e.Got)
	}
	return fmt.Sprintf("verifying %s: checksum mismatch: logged %s on %s, upstream now has %s; the first hash stands",
		what, e.Want, e.Entry.Time.UTC().Format(time.DateOnly), e.Got)
}

// A GarbageError reports bytes of an upstream that are no module's.
type GarbageError struct{ Err error }

func (e *GarbageError) Error() string { return "upstream has no valid module: " + e.Err.Error() }
func (e *GarbageError) Unwrap() error { return e.Err }

// judge says what an error of the store means for bytes that src gave.
func (s *Service) judge(e log.Entry, src Source, err error) error {
	var mismatch *store.MismatchError
	var bad *store.BadZipError
	switch {
	case errors.As(err, &mismatch):
		err := &MismatchError{e, mismatch.Kind, mismatch.Want, mismatch.Got}
		s.evidence("upstream-mismatch", e.Record.Module, mismatchText(err, src))
		return err
	case errors.As(err, &bad) && !errors.As(err, new(*fs.PathError)):
		return &GarbageError{err}
	}
	return local(err)
}

// evidence hands on what an operator has to see, once for each finding.
func (s *Service) evidence(kind string, m module.Version, text string) {
	key := kind + "\n" + text
	if _, ok := s.noticed.Get(key); ok {
		return
	}
	s.noticed.Put(key, true)
	s.log.Error("module bytes refused", "kind", kind, "module", m.String(), "evidence", text)
	if s.c.Evidence != nil {
		s.c.Evidence(kind, fmt.Appendf(nil, "sumlog evidence v1 %s\n%sseen %s\n", kind, text, time.Now().UTC().Format(time.RFC3339)))
	}
}

func mismatchText(e *MismatchError, src Source) string {
	where := "not logged; the record is that of the public checksum database"
	if e.Entry.Index >= 0 {
		where = fmt.Sprintf("logged at index %d, %s", e.Entry.Index, e.Entry.Time.UTC().Format(time.RFC3339Nano))
	}
	return fmt.Sprintf("%s\n%supstream %s gave a %s with the hash\n%s\n", where, e.Entry.Record.Text(), src, e.Kind, e.Got)
}

func conflictText(e *log.ConflictError) string {
	return fmt.Sprintf("logged\n%srefused\n%s", e.Have.Text(), e.Got.Text())
}
