// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/modzip"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/witness/audit/report"
)

const (
	maxInfo = 1 << 20
	skew    = time.Hour // a clock is not believed to be better
)

// An info is what the auditor reads of a .info.
type info struct {
	Version string
	Time    time.Time
	Origin  *origin
}

// files fetches the three files of e and compares them with the record (D1 to D7).
func (a *auditor) files(ctx context.Context, e entry) {
	inf, ok1 := a.file(ctx, e, "", ".info", maxInfo, a.d4)
	mod, ok2 := a.file(ctx, e, "", ".mod", zip.MaxGoMod, a.d3)
	if ok1 {
		a.info(ctx, e, inf)
	}
	if ok2 {
		a.mod(ctx, e, mod)
	}
	z, ok3 := a.zip(ctx, e, "")
	if ok3 {
		a.unpacks(e, z)
	}
	if ok2 && ok3 {
		a.agree(e, mod.body, z)
	}
	if ok1 || ok2 || ok3 {
		a.d7.Add(1)
	}
	a.stored(ctx, e, inf.body, ok3)
}

// stored compares with the record what is served under /cached-only/ (D1, D3, D4):
// who asks there must not be given other bytes than the rest of the world.
func (a *auditor) stored(ctx context.Context, e entry, infoSeen []byte, zipSeen bool) {
	if inf, ok := a.file(ctx, e, cachedOnly, ".info", maxInfo, a.d4); ok {
		if i, ok := a.sameInfo(ctx, e, cachedOnly, inf); ok && !bytes.Equal(inf.body, infoSeen) {
			a.sane(e, cachedOnly, i)
		}
	}
	if mod, ok := a.file(ctx, e, cachedOnly, ".mod", zip.MaxGoMod, a.d3); ok {
		a.sameMod(ctx, e, cachedOnly, mod)
	}
	if z, ok := a.zip(ctx, e, cachedOnly); ok && !zipSeen {
		a.unpacks(e, z)
	}
}

// file fetches a file that is small, at a place below the site. If there is none,
// that is noted.
func (a *auditor) file(ctx context.Context, e entry, place, ext string, limit int64, c *report.Check) (answer, bool) {
	an, err := a.get(ctx, place+e.file(ext), limit)
	return an, a.had(ctx, e, place, ext, an, err, c)
}

// had reports whether a file of e was answered, and notes if not.
func (a *auditor) had(ctx context.Context, e entry, place, ext string, an answer, err error, c *report.Check) bool {
	if err != nil {
		fail := func() { a.failed(ctx, c, e.Index, "%s%s%s: %v", place, e, ext, err) }
		if place == cachedOnly {
			// To a proxy that has no such place it is part of a module's path.
			a.store.absent(fail)
			return false
		}
		fail()
		return false
	}
	if place == cachedOnly {
		if an.absent() {
			return false // not every file is stored
		}
		a.store.here()
	}
	if an.absent() {
		// Not misbehaviour: that bytes are gone changes no record.
		a.mirror.absent(func() { warn(a.d7, e, "%s%s: the mirror says %d", e, ext, an.status) })
		return false
	}
	a.mirror.here()
	c.Add(1)
	return true
}

// info checks a .info (D4), and the tag that it names (D6).
func (a *auditor) info(ctx context.Context, e entry, an answer) {
	i, ok := a.sameInfo(ctx, e, "", an)
	if !ok {
		return
	}
	a.sane(e, "", i)
	if a.c.Tags && i.Origin != nil {
		a.tag(ctx, e, an, *i.Origin)
	}
}

// sameInfo checks a .info at a place below the site (D4).
func (a *auditor) sameInfo(ctx context.Context, e entry, place string, an answer) (info, bool) {
	i, err := parseInfo(an.body, e)
	if err != nil {
		a.accuse(ctx, a.d4, e, a.observed(an, evidence.Info), "%s%s.info: %v", place, e, err)
	}
	return i, err == nil
}

// sane warns of the time of a .info (D4).
func (a *auditor) sane(e entry, place string, i info) {
	switch {
	case i.Time.IsZero():
		warn(a.d4, e, "%s%s.info has no time", place, e)
	case i.Time.After(a.now().Add(skew)):
		warn(a.d4, e, "%s%s.info has a time to come, %s", place, e, i.Time.UTC().Format(time.RFC3339))
	}
}

func parseInfo(body []byte, e entry) (info, error) {
	var i info
	if err := json.Unmarshal(body, &i); err != nil {
		return info{}, fmt.Errorf("malformed: %v", err)
	}
	if i.Version != e.version {
		return info{}, fmt.Errorf("names version %.100q", i.Version)
	}
	return i, nil
}

// mod checks a .mod (D3, D5).
func (a *auditor) mod(ctx context.Context, e entry, an answer) {
	if !a.sameMod(ctx, e, "", an) {
		return
	}
	a.d5.Add(1)
	if path := modfile.ModulePath(an.body); path != e.path {
		warn(a.d5, e, "the go.mod of %s is of module %.200q", e, path)
	}
}

// sameMod compares a .mod with the record (D3).
func (a *auditor) sameMod(ctx context.Context, e entry, place string, an answer) bool {
	h := hashMod(an.body)
	if h != e.rec.Mod {
		a.accuse(ctx, a.d3, e, a.observed(an, evidence.Mod), "%s%s.mod has the hash %s, logged is %s", place, e, record.H1(h), record.H1(e.rec.Mod))
	}
	return h == e.rec.Mod
}

// hashMod returns the h1 hash of a go.mod.
func hashMod(data []byte) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%x  go.mod\n", sha256.Sum256(data)))
}

// zip fetches the zip of e at a place below the site, and checks it (D1).
func (a *auditor) zip(ctx context.Context, e entry, place string) (moduleZip, bool) {
	f, err := os.CreateTemp("", "sumaudit-*.zip")
	if err != nil {
		a.failed(ctx, a.d1, e.Index, "%s%s.zip: %v", place, e, err)
		return moduleZip{}, false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	an := answer{path: place + e.file(".zip"), time: a.now(), status: 200}
	size, err := a.site.Fetch(ctx, an.path, zip.MaxZipFile, f)
	an, err = an.or(err)
	if !a.had(ctx, e, place, ".zip", an, err, a.d1) {
		return moduleZip{}, false
	}
	z, err := scanZip(ctx, f, size, module.Version{Path: e.path, Version: e.version})
	if bad, ok := errors.AsType[*modzip.Error](err); err != nil && (!ok || bad.Costly) {
		a.failed(ctx, a.d1, e.Index, "%s%s.zip: %v", place, e, err)
		return moduleZip{}, false
	}
	what := record.H1(z.h1)
	if err != nil {
		z.h1, what = [32]byte{}, err.Error()
	}
	if z.h1 != e.rec.Zip {
		ob := a.observed(an, evidence.Zip)
		ob.H1 = z.h1
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, size)); err != nil {
			a.failed(ctx, a.d1, e.Index, "%s%s.zip: %v", place, e, err)
			return moduleZip{}, false
		}
		ob.SHA256 = [32]byte(h.Sum(nil))
		a.accuse(ctx, a.d1, e, ob, "%s%s.zip has not the hash that is logged, %s: %s", place, e, record.H1(e.rec.Zip), what)
		return moduleZip{}, false
	}
	return z, true
}

// unpacks warns of a zip that the go command does not take, whatever its hash (D1).
func (a *auditor) unpacks(e entry, z moduleZip) {
	if z.rule != nil {
		warn(a.d1, e, "the go command would not unpack %s.zip: %v", e, z.rule)
	}
}

// agree compares a .mod and a zip of the hashes that are logged (D2). They are what
// the log was given: where they do not agree, nobody who serves them is wrong.
func (a *auditor) agree(e entry, mod []byte, z moduleZip) {
	if hashMod(mod) != e.rec.Mod {
		return // D3 says so
	}
	a.d2.Add(1)
	// The go command makes one up too where the go.mod of the zip does not count,
	// as that of a +incompatible version.
	madeUp := fmt.Sprintf("module %s\n", modfile.AutoQuote(e.path))
	if z.goMod != nil && bytes.Equal(mod, z.goMod) || string(mod) == madeUp {
		return
	}
	if z.goMod == nil {
		warn(a.d2, e, "%s.mod is not the go.mod that is made up for a zip without one", e)
		return
	}
	warn(a.d2, e, "%s.mod is not the go.mod of the zip", e)
}
