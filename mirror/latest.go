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
	var listed []admit.Listed
	if !q.cachedOnly {
		var err error
		if listed, err = h.c.Admission.List(ctx, q.path, len(logged) > 0); err != nil && len(logged) == 0 {
			return nil, err
		}
	}
	versions := h.known(q.path, listed, logged)
	if len(versions) == 0 {
		return nil, notFound("%s has no version", q.path)
	}
	v := pick(versions, func(version string) []byte { return h.goMod(ctx, q, version) }, q.path)
	at, err := h.timeOf(ctx, q, v, logged)
	if err != nil {
		return nil, err
	}
	return json.Marshal(store.VersionInfo{Version: v.Version, Time: at})
}

// pick returns which of the versions, which are sorted, a go command that is asked
// for the latest one selects (cmd/go/internal/modload/query.go and
// cmd/go/internal/modfetch/proxy.go): the highest release, else the highest
// prerelease, else the newest of the rest, of those that the go.mod of the latest
// does not retract. If it retracts all, it is the latest all the same. Of goMod nil
// says that the go.mod cannot be had.
func pick(versions []admit.Listed, goMod func(version string) []byte, path string) admit.Listed {
	latest := highest(versions, goMod, path)
	retracted := retractions(goMod(latest.Version))
	if len(retracted) == 0 {
		return latest
	}
	var allowed []admit.Listed
	for _, v := range versions {
		if !within(retracted, v.Version) {
			allowed = append(allowed, v)
		}
	}
	if len(allowed) == 0 {
		return latest
	}
	return highest(allowed, goMod, path)
}

// highest is pick without a look at retractions. There is at least one version.
func highest(versions []admit.Listed, goMod func(version string) []byte, path string) admit.Listed {
	var release, pre, newest, compatible admit.Listed
	legacy := false // versions without a go.mod count whatever their major version
	for _, v := range versions {
		if module.IsPseudoVersion(v.Version) {
			if newest.Version == "" || dated(newest).Before(dated(v)) {
				newest = v
			}
			continue
		}
		if semver.Build(v.Version) == "" {
			compatible = v
		} else if compatible.Version != "" && !legacy {
			// A module whose compatible versions have a go.mod means them.
			if legacy = madeUp(goMod(compatible.Version), path); !legacy {
				break
			}
		}
		if semver.Prerelease(v.Version) == "" {
			release = v
		} else {
			pre = v
		}
	}
	switch {
	case release.Version != "":
		return release
	case pre.Version != "":
		return pre
	}
	return newest
}

// dated returns the time that a list gives a pseudo-version, else its own.
func dated(v admit.Listed) time.Time {
	if !v.Time.IsZero() {
		return v.Time
	}
	t, _ := module.PseudoVersionTime(v.Version)
	return t
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
func (h *Handler) goMod(ctx context.Context, q request, version string) []byte {
	m := module.Version{Path: q.path, Version: version}
	e, found, err := h.find(m)
	if err == nil && found {
		if data, err := h.c.Store.ReadMod(ctx, e.Record); err == nil {
			return data
		}
	}
	if q.cachedOnly {
		return nil
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
	switch at := dated(v); {
	case !i.Time.IsZero():
		return i.Time.UTC(), nil
	case !at.IsZero():
		return at.UTC(), nil
	case found:
		return e.Time.UTC(), nil
	}
	return time.Time{}, err
}
