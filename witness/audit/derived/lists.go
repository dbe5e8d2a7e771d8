// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/sync/errgroup"

	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/witness/audit/replay"
	"example.org/sumlog/witness/audit/report"
)

const (
	maxList = 8 << 20

	cachedOnly = "cached-only/"
)

// lists compares the lists of modules with what is logged (V1, V2): of all modules,
// or of those in the sample.
func (a *auditor) lists(ctx context.Context) (err error) {
	if a.c.Sample == 0 || a.tree.N == 0 || a.c.Sample < 0 && a.c.Done == a.tree.N || a.carried() {
		return nil
	}
	n := min(a.tree.N, int64(a.c.Sample))
	if a.c.Sample < 0 {
		n = a.tree.N
	}
	s, err := newSpill(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := a.collect(ctx, s); err != nil {
		return err
	}
	later := &extras{}
	err = s.parts(func(modules map[string][]version) error {
		var g errgroup.Group
		g.SetLimit(a.c.Parallel)
		for path, logged := range modules {
			g.Go(func() error {
				a.module(ctx, path, logged, later)
				return ctx.Err()
			})
		}
		return g.Wait()
	})
	if err != nil {
		return err
	}
	return a.settle(ctx, later)
}

// collect puts into s the versions of the modules that are looked at: all that are
// logged, if the lists are to be exact, else those in the sample.
func (a *auditor) collect(ctx context.Context, s *spill) error {
	if !a.exact() {
		return a.each(ctx, func(e entry) error { return s.add(e.path, e.version, e.Index) })
	}
	var wanted map[string]bool // nil: all
	if a.c.Sample > 0 && int64(a.c.Sample) < a.tree.N {
		wanted = make(map[string]bool)
		if err := a.entries(ctx, func(e entry) { wanted[e.path] = true }); err != nil {
			return err
		}
	}
	for e, err := range a.c.Entries(ctx, 0, a.tree.N) {
		if err != nil {
			return fmt.Errorf("entries: %w", err)
		}
		if e, ok := parseEntry(e); ok && (wanted == nil || wanted[e.path]) {
			if err := s.add(e.path, e.version, e.Index); err != nil {
				return err
			}
		}
	}
	return nil
}

// each is entries for an f that may fail.
func (a *auditor) each(ctx context.Context, f func(entry) error) error {
	var failed error
	err := a.entries(ctx, func(e entry) {
		if failed == nil {
			failed = f(e)
		}
	})
	return errors.Join(err, failed)
}

// module compares the lists of a module with its logged versions: all of them, if
// the lists are to be exact.
func (a *auditor) module(ctx context.Context, path string, logged []version, later *extras) {
	if len(logged) > maxVersions {
		a.failed(ctx, a.v1, logged[0].index, "%s: more than %d versions", path, maxVersions)
		return
	}
	escaped, _ := module.EscapePath(path)
	var names []string
	for _, v := range logged {
		names = append(names, v.name)
	}
	want := listed(names)
	a.list(ctx, path, escaped+"/@v/list", a.lists1, want, logged, nil)
	a.list(ctx, path, cachedOnly+escaped+"/@v/list", a.lists2, want, logged, later)
	if a.exact() {
		a.latest(ctx, path, cachedOnly+escaped+"/@latest", latestOf(names), logged, later)
	}
}

// unresolvable reports whether the site of the list at where says that there is no
// .info of a version. A proxy may leave such a version out where others ask it what
// there is: the module caches behind it have the .mod alone of versions that are only
// required, and who chose one could do nothing with it. Below /cached-only/ nothing
// is left out, so nothing is hidden.
func (a *auditor) unresolvable(ctx context.Context, where, version string) bool {
	v, err := module.EscapeVersion(version)
	if err != nil {
		return false
	}
	an, err := a.get(ctx, strings.TrimSuffix(where, "list")+v+".info", maxInfo)
	return err == nil && an.absent()
}

// list compares one list with want. What it has beyond that is put into later, if
// that is not nil and the list is to be exact.
func (a *auditor) list(ctx context.Context, path, where string, s *surface, want []string, logged []version, later *extras) {
	an, err := a.get(ctx, where, maxList)
	if err != nil {
		a.failed(ctx, a.v1, logged[0].index, "%s: %v", where, err)
		return
	}
	if an.absent() {
		s.absent(func() {
			a.accuseVersion(ctx, a.v1, path, logged[0].name, logged, a.observed(an, evidence.List), "%s: %d, and versions are logged", where, an.status)
		})
		return
	}
	got, ok := parseList(an.body)
	if !ok {
		a.failed(ctx, a.v1, logged[0].index, "%s: no list", where)
		return
	}
	s.here()
	a.v1.Add(1)
	d := diffLists(want, got)
	for _, v := range d.missing {
		if later == nil && a.unresolvable(ctx, where, v) {
			a.v1.Find(report.Finding{Result: report.Warning, Text: fmt.Sprintf("%s leaves out %s, which is logged and has no .info there", where, v)})
			continue
		}
		a.accuseVersion(ctx, a.v1, path, v, logged, a.observed(an, evidence.List), "%s lacks %s, which is logged", where, v)
	}
	if later == nil {
		return
	}
	for _, v := range d.twice {
		a.misbehaves(ctx, a.v1, report.Finding{Result: report.Misbehaviour, Text: fmt.Sprintf("%s has %.100q more than once", where, v)}, nil)
	}
	if !a.exact() {
		return
	}
	for _, v := range d.extra {
		later.add(a.v1, where, module.Version{Path: path, Version: v})
	}
}

// latest compares @latest with the version that it should name.
func (a *auditor) latest(ctx context.Context, path, where, want string, logged []version, later *extras) {
	an, err := a.get(ctx, where, maxInfo)
	if err != nil {
		a.failed(ctx, a.v2, logged[0].index, "%s: %v", where, err)
		return
	}
	if an.absent() {
		a.latest2.absent(func() {
			a.accuseVersion(ctx, a.v2, path, want, logged, a.observed(an, evidence.Latest), "%s: %d, and versions are logged", where, an.status)
		})
		return
	}
	var i info
	if err := json.Unmarshal(an.body, &i); err != nil {
		a.failed(ctx, a.v2, logged[0].index, "%s: malformed: %v", where, err)
		return
	}
	a.latest2.here()
	a.v2.Add(1)
	switch c := compareLatest(i.Version, want); {
	case i.Version == want:
	case c > 0:
		// It may have been logged since.
		later.add(a.v2, where, module.Version{Path: path, Version: i.Version})
	default:
		a.accuseVersion(ctx, a.v2, path, want, logged, a.observed(an, evidence.Latest), "%s names %.100q, the latest of what is logged is %s", where, i.Version, want)
	}
}

// accuseVersion is accuse for a version of which only the index is known.
func (a *auditor) accuseVersion(ctx context.Context, c *report.Check, path, name string, logged []version, an evidence.Answer, format string, args ...any) {
	for _, v := range logged {
		if v.name != name {
			continue
		}
		for e, err := range a.c.Entries(ctx, v.index, v.index+1) {
			if err != nil {
				a.failed(ctx, c, v.index, "%s@%s: %v", path, name, err)
				return
			}
			e.Text = []byte(string(e.Text))
			a.accuse(ctx, c, entry{Entry: e, path: path, version: name}, an, format, args...)
			return
		}
	}
}

// maxExtras bounds the versions that are looked for in what was logged since.
const maxExtras = 10_000

// extras are versions that the mirror names and that are not in the tree that is
// audited: logged since, or never.
type extras struct {
	mu   sync.Mutex
	list []extra
	more bool // there are more
}

type extra struct {
	check *report.Check
	where string
	mod   module.Version
}

func (x *extras) add(c *report.Check, where string, m module.Version) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.list) < maxExtras {
		x.list = append(x.list, extra{c, where, m})
	} else {
		x.more = true
	}
}

// settle looks for extras in what the log has grown by: its newest head, which is
// read after them, covers whatever could be named. What is not there is not logged.
// No record contradicts that, so that there is no evidence.
func (a *auditor) settle(ctx context.Context, x *extras) error {
	if len(x.list) == 0 {
		return ctx.Err()
	}
	fail := func(format string, args ...any) error {
		for _, c := range []*report.Check{a.v1, a.v2} {
			if ctx.Err() == nil {
				c.Findf(report.Failed, "%d versions that are not in the tree of size %d: "+format, append([]any{len(x.list), a.tree.N}, args...)...)
			}
		}
		return ctx.Err()
	}
	h, err := a.log.Head(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if _, err := a.log.Extend(ctx, a.c.Head, h); err != nil {
		return fail("%v", err)
	}
	unknown := make(map[module.Version]bool)
	for _, e := range x.list {
		unknown[e.mod] = true
	}
	for e, err := range replay.Entries(ctx, a.log, h.Tree(), a.tree.N, h.Size) {
		if err != nil {
			return fail("%v", err)
		}
		if e, ok := parseEntry(e); ok {
			delete(unknown, module.Version{Path: e.path, Version: e.version})
		}
	}
	for _, e := range x.list {
		if unknown[e.mod] {
			a.misbehaves(ctx, e.check, report.Finding{Result: report.Misbehaviour, Text: fmt.Sprintf("%s names %.100q, which is not logged", e.where, e.mod.Version)}, nil)
		}
	}
	if x.more {
		a.v1.Skip("only the first %d versions that are not in the tree were looked for", maxExtras)
	}
	return ctx.Err()
}
