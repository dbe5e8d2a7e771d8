// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/lanes"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// work brings about what fl wants.
func (s *Service) work(ctx context.Context, fl *flight) outcome {
	e, found, err := s.find(fl.mod)
	switch {
	case err != nil:
		return outcome{err: err}
	case found:
		return s.refill(ctx, fl.chain, e, fl.zip)
	}
	// Not after minutes of fetching. And what the log has of this version on its way
	// keeps the bytes that it came with.
	if err := s.c.Log.Admits(); err != nil {
		return outcome{err: local(err)}
	}
	if fl.private || s.c.Database == nil {
		return outcome{err: s.compute(ctx, fl)}
	}
	return s.prove(ctx, fl)
}

// nowhere returns the error for a version of which src, which was the first to have
// any of it, and all behind it lack a part: absent, unless a source before src cannot
// say what it has.
func (s *Service) nowhere(ctx context.Context, chain Chain, m module.Version, src Source, absent error) error {
	name, err := store.Name(m, store.Info)
	if err != nil || src == nil {
		return absent
	}
	if _, _, err := chain.Before(src).Get(ctx, name, store.MaxInfo); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = ErrBusy // it can say again: next time it is asked first
		}
		return err
	}
	return absent
}

// An origin is what one source says of a version.
type origin struct {
	src       Source
	first     Source // the first that had any of it
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
	c, err := s.whole(ctx, chain, m, origin{src: a.src, info: a.data})
	c.first = a.src
	if errors.Is(err, fs.ErrNotExist) {
		err = s.nowhere(ctx, chain, m, c.first, err)
	}
	return c, err
}

// bound is fetch for a .mod that a record binds: it needs no .info.
func (s *Service) bound(ctx context.Context, chain Chain, m module.Version) (origin, error) {
	c, err := s.fetch(ctx, chain, m)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	return s.alone(ctx, chain, m, err)
}

// alone gets the .mod of m without its .info. If there is none either, the error is
// absent, which says that there is no .info.
func (s *Service) alone(ctx context.Context, chain Chain, m module.Version, absent error) (origin, error) {
	name, err := store.Name(m, store.Mod)
	if err != nil {
		return origin{}, err
	}
	mod, src, err := chain.Get(ctx, name, store.MaxMod)
	if errors.Is(err, fs.ErrNotExist) {
		err = absent
	}
	return origin{src: src, first: src, mod: mod}, err
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

// whole gets the .mod for a .info. Also with an error, what it returns says which
// .info there was.
func (s *Service) whole(ctx context.Context, chain Chain, m module.Version, c origin) (origin, error) {
	name, err := store.Name(m, store.Mod)
	if err != nil {
		return c, err
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
	place := lanes.PlaceOf(ctx)
	f := heard{z, place}
	if src != nil {
		err = src.Download(ctx, name, f, store.MaxZip)
	} else {
		src, err = chain.Download(ctx, name, f, store.MaxZip)
	}
	if err != nil {
		z.Abort()
		return nil, nil, err
	}
	place.Working()
	return z, src, nil
}

// A heard file tells the lanes that bytes come.
type heard struct {
	upstream.File
	place *lanes.Place
}

func (f heard) Write(p []byte) (int, error) {
	f.place.Heard()
	return f.File.Write(p)
}

// downloadBound is download for a zip that a record binds to its .mod: if src
// lacks it, a source behind src may give it.
func (s *Service) downloadBound(ctx context.Context, chain Chain, c origin, m module.Version) (*store.ZipFile, Source, error) {
	src := c.src
	z, from, err := s.download(ctx, chain, src, m)
	if src == nil || !errors.Is(err, fs.ErrNotExist) {
		return z, from, err
	}
	if z, from, err := s.download(ctx, chain.After(src), nil, m); !errors.Is(err, fs.ErrNotExist) {
		return z, from, err
	}
	return nil, nil, s.nowhere(ctx, chain, m, c.first, err)
}

// An UnvouchedError reports a public version that an upstream has and that the
// public checksum database says does not exist. That database says so too when its
// own fetch failed, so the version is not absent; and it is not logged either.
type UnvouchedError struct{ Module module.Version }

func (e *UnvouchedError) Error() string {
	return fmt.Sprintf("%s: upstream has it, and the public checksum database does not know it (yet): try again later; "+
		"if the module is private, this server must be told so with -private", e.Module)
}

// learn gets the record of m from the database and its .info and .mod from upstream.
func (s *Service) learn(ctx context.Context, chain Chain, m module.Version) (rec log.Record, c origin, err error) {
	var unknown, absent error
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if rec, err = s.c.Database.Record(gctx, m); errors.Is(err, fs.ErrNotExist) {
			unknown, err = err, nil
		}
		return err
	})
	g.Go(func() (err error) {
		if c, err = s.fetch(gctx, chain, m); errors.Is(err, fs.ErrNotExist) {
			absent, err = err, nil
		}
		return err
	})
	err = g.Wait()
	has := c.info != nil // a part of it, at least
	if err == nil && absent != nil {
		c, err = s.alone(ctx, chain, m, absent)
	}
	switch {
	case unknown != nil && (err == nil || has && errors.Is(err, fs.ErrNotExist)):
		err = &UnvouchedError{m}
	case unknown != nil && errors.Is(err, fs.ErrNotExist):
		err = unknown
	case err == nil && rec.Module != m:
		err = fmt.Errorf("%s: the checksum database gave a record of %s", m, rec.Module)
	}
	return rec, c, err
}

// prove admits a public version with the record that the database proves.
func (s *Service) prove(ctx context.Context, fl *flight) (o outcome) {
	rec, c, err := s.learn(ctx, fl.chain, fl.mod)
	if err != nil {
		return outcome{err: err}
	}
	e := log.Entry{Index: -1, Record: rec}
	if err := s.c.Store.PutMod(rec, c.info, c.mod); err != nil {
		return outcome{err: s.judge(e, c.src, err)}
	}
	if c.info == nil {
		o.noInfo = errNoInfo
	}
	if !fl.zip {
		lanes.PlaceOf(ctx).Leave()
		if o.err = s.append(ctx, rec, c); o.err == nil {
			s.later(fl.mod)
		}
		return o
	}
	hastened := s.hastened(ctx, fl, rec, c)
	if o.err = s.proveZip(ctx, fl, e, c); o.err != nil {
		o.atZip = true
	}
	lanes.PlaceOf(ctx).Leave()
	if logged, err := hastened(); err != nil || logged {
		o.err = errors.Join(o.err, err)
		return o
	}
	if o.err == nil {
		o.err = s.append(ctx, rec, c)
	}
	return o
}

// proveZip gets the zip of the proven record of e.
func (s *Service) proveZip(ctx context.Context, fl *flight, e log.Entry, c origin) error {
	z, src, err := s.downloadBound(ctx, fl.chain, c, fl.mod)
	if err != nil {
		return err
	}
	if err := s.c.Store.PutZip(ctx, e.Record, z); err != nil {
		return s.judge(e, src, err)
	}
	return nil
}

// hastened appends rec once somebody waits for the version and not for its zip, which
// may take minutes. The function that it returns ends that, and says whether it was
// done.
func (s *Service) hastened(ctx context.Context, fl *flight, rec log.Record, c origin) (end func() (logged bool, err error)) {
	stop, ended := make(chan struct{}), make(chan struct{})
	var logged bool
	var err error
	go func() {
		defer close(ended)
		select {
		case <-fl.hurry:
		case <-stop:
			return
		}
		if err = s.append(ctx, rec, c); err != nil {
			return
		}
		logged = true
		// Work that is begun again has logged it before, perhaps.
		select {
		case <-fl.logged:
		default:
			if c.info == nil {
				fl.lacks = errNoInfo
			}
			close(fl.logged)
		}
	}()
	return func() (bool, error) {
		close(stop)
		<-ended
		return logged, err
	}
}

// errNoInfo says that all is well but for the .info.
var errNoInfo = fmt.Errorf("upstream has no .info of this version: %w", fs.ErrNotExist)

// compute admits a version that only its own bytes speak for. They are stored
// durably before the append: afterwards they are the only ones that fit.
func (s *Service) compute(ctx context.Context, fl *flight) error {
	chain, m := fl.chain, fl.mod
	// The .info must be of the copy that the record is of: of a version that
	// was made anew since, an older one is not.
	if a, ok := fl.answers.Get(infoOf(m)); ok && time.Since(a.at) > patience {
		fl.answers.Delete(infoOf(m))
	}
	c, err := s.fetch(ctx, chain, m)
	if err != nil {
		return err
	}
	first := c.first
	z, _, err := s.download(ctx, chain, c.src, m)
	for errors.Is(err, fs.ErrNotExist) {
		next, nerr := s.fetchAfter(ctx, chain, m, c.src)
		switch {
		case errors.Is(nerr, fs.ErrNotExist):
			return s.nowhere(ctx, chain, m, first, err)
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
	// The log has a bound of its own on what waits for publication.
	lanes.PlaceOf(ctx).Leave()
	return s.append(ctx, rec, c)
}

// append appends rec, of which c is stored, and makes known that it is there.
func (s *Service) append(ctx context.Context, rec log.Record, c origin) error {
	if s.c.Expect != nil {
		if err := s.c.Expect(rec); err != nil {
			return err
		}
	}
	_, err := s.c.Log.Append(ctx, rec)
	var conflict *log.ConflictError
	if errors.As(err, &conflict) {
		s.evidence("conflict", rec.Module, conflicting(conflict))
		return err
	}
	if err != nil {
		return local(err)
	}
	s.published(rec.Module, c)
	return nil
}

// published does what is due once m is in the published log and c is stored.
func (s *Service) published(m module.Version, c origin) {
	to, err := s.route(m.Path)
	if err != nil {
		return // it was admitted under other settings, and nobody is asked for it
	}
	to.refused.Delete(task{m, false})
	to.refused.Delete(task{m, true})
	to.outdate(m)
	if c.info == nil {
		return
	}
	// The list is for those who read the tree without this server, who need the
	// .info. It does not decide whether the version is admitted.
	if err := s.c.Store.Publish(m); err != nil {
		s.log.Error("list of the stored tree not updated", "module", m.String(), "err", err)
	}
}

// refill fetches what the store lacks of a logged version.
func (s *Service) refill(ctx context.Context, chain Chain, e log.Entry, zip bool) (o outcome) {
	c, err := s.refillMod(ctx, chain, e)
	if errors.Is(err, errNoInfo) {
		o.noInfo, err = err, nil
	}
	if err != nil {
		return outcome{err: err}
	}
	if !zip {
		return o
	}
	o.atZip = true
	rec := e.Record
	var ok bool
	if ok, o.err = s.have(ctx, rec, store.Zip); ok || o.err != nil {
		return o
	}
	z, src, err := s.downloadBound(ctx, chain, c, rec.Module)
	if err != nil {
		o.err = err
		return o
	}
	if err := s.c.Store.PutZip(ctx, rec, z); err != nil {
		o.err = s.judge(e, src, err)
	}
	return o
}

// refillMod fetches the .info and .mod of a logged version, if the store lacks one.
func (s *Service) refillMod(ctx context.Context, chain Chain, e log.Entry) (c origin, err error) {
	rec := e.Record
	both, err := s.haveAll(ctx, rec, store.Info, store.Mod)
	if both || err != nil {
		return origin{}, err
	}
	c, err = s.bound(ctx, chain, rec.Module)
	if errors.Is(err, fs.ErrNotExist) {
		// A .mod that is here needs no upstream.
		if ok, herr := s.have(ctx, rec, store.Mod); ok || herr != nil {
			err = errors.Join(errNoInfo, herr)
		}
	}
	if err != nil {
		return origin{}, err
	}
	if err := s.c.Store.PutMod(rec, c.info, c.mod); err != nil {
		return c, s.judge(e, c.src, err)
	}
	s.published(rec.Module, c)
	if c.info == nil {
		return c, errNoInfo
	}
	return c, nil
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

// An InvalidError reports a version whose files came whole and can never be a
// module: asking again gives the same. It is an [fs.ErrNotExist].
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return "there is no valid module: " + e.Err.Error() }
func (e *InvalidError) Unwrap() error { return e.Err }

// Is makes such a version absent.
func (e *InvalidError) Is(target error) bool { return target == fs.ErrNotExist }

// judge says what an error of the store means for bytes that src gave. Of a version
// without a known record, e has none.
func (s *Service) judge(e log.Entry, src Source, err error) error {
	var mismatch *store.MismatchError
	var bad *store.BadZipError
	known := e.Record != log.Record{}
	switch {
	case errors.As(err, &mismatch):
		return s.mismatched(&MismatchError{e, mismatch.Kind, mismatch.Want, mismatch.Got}, src)
	case !errors.As(err, &bad) || errors.As(err, new(*fs.PathError)):
		return local(err)
	case bad.Whole && known:
		return s.mismatched(&MismatchError{e, store.Zip, e.Record.Zip, notZip + bad.Err.Error()}, src)
	case bad.Whole:
		return &InvalidError{bad}
	}
	return &GarbageError{err}
}

// notZip begins what a MismatchError got, where that has no hash.
const notZip = "no module zip: "

// mismatched keeps the evidence of err and returns it.
func (s *Service) mismatched(err *MismatchError, src Source) error {
	s.evidence("upstream-mismatch", err.Entry.Record.Module, mismatching(err, src))
	return err
}

// evidence hands on what an operator has to see, once for each finding.
func (s *Service) evidence(kind string, m module.Version, r evidence.Refusal) {
	key := fmt.Sprintf("%s %q", kind, []string{string(r.Record), r.Zip, r.Mod, r.Invalid, r.Source})
	if _, ok := s.noticed.Get(key); ok {
		return
	}
	s.noticed.Put(key, true)
	r.Time = time.Now()
	e, err := evidence.Refuse(r)
	if err != nil { // of hashes that differ, there should be none
		s.log.Error("module bytes refused, without evidence", "kind", kind, "module", m.String(), "err", err)
		return
	}
	s.log.Error("module bytes refused", "kind", kind, "module", m.String(), "evidence", e.String())
	if s.c.Evidence != nil {
		s.c.Evidence(kind, e.Bytes())
	}
}

func mismatching(e *MismatchError, src Source) evidence.Refusal {
	r := evidence.Refusal{Record: e.Entry.Record.Text(), Index: e.Entry.Index, Source: src.String()}
	if why, ok := strings.CutPrefix(e.Got, notZip); ok {
		r.Invalid = why[:min(len(why), 2<<10)]
	} else if e.Kind == store.Mod {
		r.Mod = e.Got
	} else {
		r.Zip = e.Got
	}
	return r
}

// conflicting does not say the index: the record may be on its way.
func conflicting(e *log.ConflictError) evidence.Refusal {
	return evidence.Refusal{Record: e.Have.Text(), Index: -1, Zip: e.Got.Zip, Mod: e.Got.Mod}
}
