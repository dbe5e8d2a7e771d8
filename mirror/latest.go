// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"example.org/sumlog/index"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/store"
)

// latest serves what upstream calls the latest version, unless the log has a later
// one, or else the latest of all that is known.
func (h *Handler) latest(w http.ResponseWriter, r *http.Request, q request) error {
	logged, err := h.logged(q.path)
	if err != nil {
		return err
	}
	var data []byte
	if q.cachedOnly {
		err = notFound("%s is not in this mirror: temporarily unavailable", q.path)
	} else {
		data, err = h.c.Admission.Latest(r.Context(), q.path, len(logged) > 0)
	}
	// Only absence, or a log that knows the module, lets others than upstream say.
	if err != nil && !errors.Is(err, fs.ErrNotExist) && len(logged) == 0 {
		return err
	}
	if err != nil || outdone(data, logged) {
		derived, derr := h.derive(r.Context(), q, logged)
		switch {
		case derr == nil:
			data = derived
		case err != nil:
			return derr
		}
	}
	resolved(w, r, contentType[store.Info], string(data))
	return nil
}

// outdone reports whether a logged version may be later than the one of the .info
// that upstream gave for the latest.
func outdone(info []byte, logged []index.Version) bool {
	var i store.VersionInfo
	if err := json.Unmarshal(info, &i); err != nil {
		return true
	}
	for _, v := range logged {
		if !module.IsPseudoVersion(v.Version) &&
			(module.IsPseudoVersion(i.Version) || semver.Compare(v.Version, i.Version) > 0) {
			return true
		}
	}
	return false
}

// derive returns the .info of the latest version of all that is listed, logged and
// stored.
func (h *Handler) derive(ctx context.Context, q request, logged []index.Version) ([]byte, error) {
	var latest admit.Listed
	if q.cachedOnly {
		if len(logged) == 0 {
			return nil, notFound("%s is not in this mirror: temporarily unavailable", q.path)
		}
		latest = loggedLatest(logged)
	} else {
		listed, err := h.c.Admission.List(ctx, q.path, len(logged) > 0)
		if err != nil && len(logged) == 0 {
			return nil, err
		}
		latest = choice{
			path:  q.path,
			goMod: func(version string) []byte { return h.goMod(ctx, version, q.path) },
		}.pick(h.known(q.path, listed, logged, err), listed)
	}
	if latest.Version == "" {
		return nil, notFound("%s has no version that could be the latest", q.path)
	}
	at, err := h.timeOf(ctx, q, latest, logged)
	if err != nil {
		return nil, err
	}
	return json.Marshal(store.VersionInfo{Version: latest.Version, Time: at})
}

// loggedLatest returns the latest of what is logged, as it is below /cached-only/,
// where an auditor who has the log and nothing else must be able to say what it is:
// the highest release, else the highest prerelease, else the newest pseudo-version. A
// version without a go.mod of its major version (+incompatible) comes after those
// with one.
func loggedLatest(logged []index.Version) admit.Listed {
	best := slices.MaxFunc(logged, func(a, b index.Version) int {
		if c := rank(a.Version) - rank(b.Version); c != 0 {
			return c
		}
		if c := pseudoTime(a.Version).Compare(pseudoTime(b.Version)); c != 0 {
			return c
		}
		return semver.Compare(a.Version, b.Version)
	})
	return admit.Listed{Version: best.Version, Time: pseudoTime(best.Version)}
}

// pseudoTime returns the time of a pseudo-version, and zero for others.
func pseudoTime(version string) time.Time {
	t, _ := module.PseudoVersionTime(version)
	return t
}

func rank(version string) int {
	n := 4
	switch {
	case module.IsPseudoVersion(version):
		n = 0
	case semver.Prerelease(version) != "":
		n = 2
	}
	if semver.Build(version) == "" {
		n++
	}
	return n
}

// A choice is what choosing the latest version of a module needs to know.
type choice struct {
	path  string
	goMod func(version string) []byte // nil: cannot be had
}

// pick returns the latest of the versions, which are sorted and have those that
// upstream lists among them. It is what a go command needs that has the list and asks
// for the latest (cmd/go/internal/modload/query.go): the version that it selects
// itself, the highest release, else the highest prerelease, of those that the go.mod
// of the latest does not retract; or, where it finds none of those good enough, what
// it would make of the list without an answer here.
func (c choice) pick(versions, listed []admit.Listed) admit.Listed {
	if len(listed) == 0 || !slices.ContainsFunc(versions, tagged) {
		listed = versions
	}
	recent := newest(listed)
	latest := c.highest(versions)
	if latest.Version == "" {
		return recent
	}
	retracted := retractions(c.goMod(latest.Version))
	allowed := latest
	if len(retracted) > 0 {
		kept := slices.DeleteFunc(slices.Clone(versions), func(v admit.Listed) bool { return within(retracted, v.Version) })
		allowed = c.highest(kept)
	}
	switch {
	case recent.Version != "" && semver.Compare(recent.Version, allowed.Version) > 0:
		return recent // also if nothing is allowed
	case allowed.Version == "":
		return latest
	}
	return allowed
}

// tagged reports whether v is no pseudo-version.
func tagged(v admit.Listed) bool { return !module.IsPseudoVersion(v.Version) }

// newest returns the newest of the versions of a list that has their times, as the
// go command does (cmd/go/internal/modfetch/proxy.go, latestFromList).
func newest(listed []admit.Listed) (newest admit.Listed) {
	for _, v := range listed {
		if newest.Time.Before(v.Time) {
			newest = v
		}
	}
	return newest
}

// highest returns the highest of the versions that are tagged: a release, if there is
// one.
func (c choice) highest(versions []admit.Listed) admit.Listed {
	var release, pre, compatible admit.Listed
	legacy := false // versions without a go.mod count whatever their major version
	for _, v := range versions {
		if !tagged(v) {
			continue
		}
		if semver.Build(v.Version) == "" {
			compatible = v
		} else if compatible.Version != "" && !legacy {
			// A module whose compatible versions have a go.mod means them.
			if legacy = madeUp(c.goMod(compatible.Version), c.path); !legacy {
				break
			}
		}
		if semver.Prerelease(v.Version) == "" {
			release = v
		} else {
			pre = v
		}
	}
	if release.Version != "" {
		return release
	}
	return pre
}

// madeUp reports whether a go.mod may be the one that go commands make up for a
// version without one. They look into the zip, which nobody may be sent here.
func madeUp(mod []byte, path string) bool {
	return mod == nil || string(mod) == "module "+modfile.AutoQuote(path)+"\n"
}

// retractions returns what a go.mod retracts.
func retractions(mod []byte) []*modfile.Retract {
	f, err := modfile.ParseLax("go.mod", mod, nil)
	if err != nil {
		return nil
	}
	return f.Retract
}

func within(retracted []*modfile.Retract, version string) bool {
	for _, r := range retracted {
		if semver.Compare(r.Low, version) <= 0 && semver.Compare(version, r.High) <= 0 {
			return true
		}
	}
	return false
}

// goMod returns the go.mod of a version: the stored one, or the one that upstream
// gives, or nil.
func (h *Handler) goMod(ctx context.Context, version, path string) []byte {
	m := module.Version{Path: path, Version: version}
	e, found, err := h.find(m)
	if err == nil && found {
		if data, err := h.c.Store.ReadMod(ctx, e.Record); err == nil {
			return data
		}
	}
	data, err := h.c.Admission.Mod(ctx, m, true)
	if err != nil {
		return nil
	}
	return data
}

// timeOf returns the time of a version: as its .info says, else as its list or its
// pseudo-version says, else the time when it was logged.
func (h *Handler) timeOf(ctx context.Context, q request, v admit.Listed, logged []index.Version) (time.Time, error) {
	m := module.Version{Path: q.path, Version: v.Version}
	e, found, err := h.find(m)
	if err != nil {
		return time.Time{}, err
	}
	var i store.VersionInfo
	if found {
		i, _ = h.c.Store.ReadInfo(ctx, e.Record)
	} else if !q.cachedOnly {
		var data []byte
		if data, err = h.c.Admission.Info(ctx, q.path, v.Version, len(logged) > 0); err == nil {
			err = json.Unmarshal(data, &i)
		}
	}
	switch {
	case !i.Time.IsZero():
		return i.Time.UTC(), nil
	case !v.Time.IsZero():
		return v.Time.UTC(), nil
	case found:
		return e.Time.UTC(), nil
	}
	return time.Time{}, err
}
