// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// maxLatest is how long a request for the latest may take in all. The answer may be
// made of several of upstream's (its own, the list, a go.mod or two, the .info), each
// of which may take long, and has to be there in the 30 seconds of a short request.
const maxLatest = 28 * time.Second

// latest serves what upstream calls the latest version, unless the list or the log has
// a later one, or else the latest of all that is known.
func (h *Handler) latest(w http.ResponseWriter, r *http.Request, q request) error {
	logged, err := h.logged(q.path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), maxLatest, admit.ErrTimeout)
	defer cancel()
	find := h.current
	if q.cachedOnly {
		find = h.cached
	}
	data, err := find(ctx, q, logged)
	if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) == admit.ErrTimeout {
		return fmt.Errorf("%s/@latest: %w", q.path, admit.ErrTimeout)
	}
	if err != nil {
		return err
	}
	resolved(w, r, contentType[store.Info], string(data))
	return nil
}

// cached returns the .info of the latest version of what is logged.
func (h *Handler) cached(ctx context.Context, q request, logged []index.Version) ([]byte, error) {
	if len(logged) == 0 {
		return nil, notFound("%s is not in this mirror: temporarily unavailable", q.path)
	}
	return h.infoOf(ctx, q, loggedLatest(logged), true)
}

// current returns the .info that upstream has for the latest, or that of a version
// that is later. If that cannot be made out, upstream's stands.
func (h *Handler) current(ctx context.Context, q request, logged []index.Version) ([]byte, error) {
	data, err := h.c.Admission.Latest(ctx, q.path, len(logged) > 0)
	// Only absence, or a log that knows the module, lets others than upstream say.
	if err != nil && !errors.Is(err, fs.ErrNotExist) && len(logged) == 0 {
		return nil, err
	}
	if err != nil {
		return h.derive(ctx, q, logged, "")
	}
	var said store.VersionInfo
	if err := json.Unmarshal(data, &said); err != nil {
		return nil, err
	}
	// A go command that has the list and is given a pseudo-version found no version of
	// the list good enough.
	if module.IsPseudoVersion(said.Version) && !slices.ContainsFunc(logged, func(v index.Version) bool { return outdoes(v.Version, said.Version) }) {
		return data, nil
	}
	if derived, err := h.derive(ctx, q, logged, said.Version); err == nil {
		return derived, nil
	}
	return data, nil
}

// outdoes reports whether a version may take the place of the one that upstream said.
func outdoes(version, said string) bool {
	return !module.IsPseudoVersion(version) && (module.IsPseudoVersion(said) || semver.Compare(version, said) > 0)
}

// errStands is the error of what cannot take the place of upstream's answer.
var errStands = errors.New("no later version than upstream's")

// derive returns the .info of the latest version of all that is listed, logged and
// stored. It must be later than the one that upstream said, unless that is "".
func (h *Handler) derive(ctx context.Context, q request, logged []index.Version, said string) ([]byte, error) {
	hurry := said != "" || len(logged) > 0
	listed, err := h.c.Admission.List(ctx, q.path, hurry)
	if err != nil && !hurry {
		return nil, err
	}
	candidates := listed
	if said != "" && !module.IsPseudoVersion(said) {
		candidates = slices.Concat(listed, []admit.Listed{{Version: said}}) // which no list need have
	}
	all := h.known(q.path, candidates, logged, err)
	if said != "" && !slices.ContainsFunc(all, func(v admit.Listed) bool { return outdoes(v.Version, said) }) {
		return nil, errStands
	}
	sure := true
	latest, good := choice{
		path: q.path,
		goMod: func(version string) []byte {
			mod := h.goMod(ctx, version, q.path)
			sure = sure && mod != nil
			return mod
		},
	}.pick(all, listed)
	switch {
	case said != "" && (!good || !sure || !outdoes(latest.Version, said)):
		// Of a version whose go.mod cannot be had, upstream may know that it is retracted.
		return nil, errStands
	case latest.Version == "":
		return nil, notFound("%s has no version that could be the latest", q.path)
	}
	return h.infoOf(ctx, q, latest, hurry)
}

// infoOf returns a .info for a version.
func (h *Handler) infoOf(ctx context.Context, q request, v admit.Listed, hurry bool) ([]byte, error) {
	at, err := h.timeOf(ctx, q, v, hurry)
	if err != nil {
		return nil, err
	}
	return json.Marshal(store.VersionInfo{Version: v.Version, Time: at})
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
// it would make of the list without an answer here. If all is retracted, it is not good.
func (c choice) pick(versions, listed []admit.Listed) (v admit.Listed, good bool) {
	if len(listed) == 0 || !slices.ContainsFunc(versions, tagged) {
		listed = versions
	}
	recent := newest(listed)
	latest := c.highest(versions)
	if latest.Version == "" {
		return recent, true
	}
	retracted := retractions(c.goMod(latest.Version))
	allowed := latest
	if len(retracted) > 0 {
		kept := slices.DeleteFunc(slices.Clone(versions), func(v admit.Listed) bool { return within(retracted, v.Version) })
		allowed = c.highest(kept)
	}
	switch {
	case recent.Version != "" && semver.Compare(recent.Version, allowed.Version) > 0:
		return recent, true // also if nothing is allowed
	case allowed.Version == "":
		return latest, false
	}
	return allowed, true
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

// maxParsed bounds the work that one request can cause: the go.mod files of real
// modules are a thousandth of what may be stored.
const maxParsed = 1 << 20

// retractions returns what a go.mod retracts, if it is of a sane size.
func retractions(mod []byte) []*modfile.Retract {
	if len(mod) > maxParsed {
		return nil
	}
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
func (h *Handler) timeOf(ctx context.Context, q request, v admit.Listed, hurry bool) (time.Time, error) {
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
		if data, err = h.c.Admission.Info(ctx, q.path, v.Version, hurry); err == nil {
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
