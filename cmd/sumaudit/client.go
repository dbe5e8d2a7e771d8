// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/goenv"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/heads"
	"example.org/sumlog/witness/audit/report"
)

var cmdClient = &command{
	Name:  "client",
	Args:  "URL",
	Short: "prove that the go command of this machine was shown the same log",
	Long: `
Client reads what the go command keeps of a checksum database: the newest head
that it believes, and the answers it got, each with a record and a head. It
proves all these heads and records to be of the tree that the log at URL shows
now. A go command asks one server, and believes it as long as it does not
contradict itself: so a log that shows this machine another tree than the rest of
the world is not noticed by the go command, and is by this.

Use a URL that leads to the log another way than this machine's GOPROXY does,
and -policy, so that what is compared with has been seen by others. If this
machine was shown another tree, that is evidence, and so are the tiles in its
cache.

	sumaudit client -vkey VKEY -policy FILE https://sum.example.org
`,
	Flags: []string{"vkey", "gopath", "modcache", "state", "policy", "max-age", "json"},
	NArgs: cli.Exactly(1),
	Run:   runClient,
	Usage: map[string]string{
		"vkey": "the log's verifier key, as in GOSUMDB (default: what go env GOSUMDB\nsays)",
		"json": "print the report as JSON, one line",
	},
}

// clientOptions are the values of the settings that only client has.
type clientOptions struct {
	gopath, modcache string
}

var clientSettings = []cli.Setting[*call]{
	{
		Name: "gopath", Value: "DIR",
		Usage: "where the go command keeps its newest head (default: what go env\nGOPATH says)",
		Bind:  cli.Text(func(c *call) *string { return &c.client.gopath }, ""),
	},
	{
		Name: "modcache", Value: "DIR",
		Usage: "where it keeps answers and tiles (default: what go env GOMODCACHE\nsays; with -gopath, pkg/mod below that)",
		Bind:  cli.Text(func(c *call) *string { return &c.client.modcache }, ""),
	},
}

func runClient(ctx context.Context, c *call) error {
	a, err := c.authority(ctx, c.Args[0], false)
	if err != nil {
		return err
	}
	gopath, modcache, err := c.goDirs(ctx)
	if err != nil {
		return err
	}
	key := a.trust.Key
	source, err := tlogclient.GoCache(modcache, gopath, key.Name())
	if err != nil {
		return cli.Usagef("-vkey: %v", err)
	}
	log, err := tlogclient.New(tlogclient.Config{Source: source, Layout: tlogclient.Database, Keys: []*checkpoint.Key{key}})
	if err != nil {
		return err
	}
	g, err := c.newComparison(ctx, key, c.Args[0])
	if err != nil {
		return err
	}
	defer g.close()
	k := &goCache{comparison: g, dir: filepath.Join(modcache, "cache", "download", "sumdb"), source: source, log: log}
	if err := k.read(ctx); err != nil {
		return err
	}
	if err := g.end(ctx, k.proveRecords); err != nil {
		return err
	}
	return g.result()
}

// goDirs returns GOPATH and GOMODCACHE.
func (c *call) goDirs(ctx context.Context) (gopath, modcache string, err error) {
	gopath, modcache = c.client.gopath, c.client.modcache
	if gopath != "" && modcache == "" {
		modcache = filepath.Join(gopath, "pkg", "mod")
	}
	if gopath != "" {
		return gopath, modcache, nil
	}
	env, err := goenv.Get(ctx, "GOPATH", "GOMODCACHE")
	if err != nil {
		return "", "", cli.Hint(err, "-gopath DIR says it without a go command")
	}
	if list := filepath.SplitList(env["GOPATH"]); len(list) > 0 {
		gopath = list[0]
	}
	if modcache == "" {
		modcache = env["GOMODCACHE"]
	}
	if gopath == "" || modcache == "" {
		return "", "", cli.Usagef("go env knows neither GOPATH nor GOMODCACHE").Hint("-gopath DIR -modcache DIR")
	}
	return gopath, modcache, nil
}

// A goCache is what the go command keeps of one database.
type goCache struct {
	*comparison
	dir     string // with a directory for each database
	source  tlogclient.Source
	log     *tlogclient.Log
	records []cachedRecord
}

// A cachedRecord is a record that the go command was given.
type cachedRecord struct {
	name  string // of its file
	index int64
	leaf  tlog.Hash
}

// Limits of what is read of a cache.
const (
	maxAnswers    = 1 << 20
	maxAnswerSize = 256 << 10
)

// read reads the heads and records.
func (k *goCache) read(ctx context.Context) error {
	found := 0
	head, err := k.log.Head(ctx)
	switch {
	case err == nil:
		found++
		if err := k.add("go command's latest", head.Note, k.log); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrNotExist):
	default:
		k.failed("go command's latest", err)
	}
	names, err := k.answers(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		k.readAnswer(ctx, name)
	}
	if found+len(names) == 0 {
		return cli.Hint(fmt.Errorf("the go command of this machine has not asked %s for anything", k.key.Name()),
			"GOSUMDB must name that database; -gopath and -modcache say where else to look")
	}
	return nil
}

// answers returns the paths of the answers that are kept, as they were asked for.
func (k *goCache) answers(ctx context.Context) (names []string, err error) {
	top := filepath.Join(k.dir, filepath.FromSlash(k.key.Name()))
	err = filepath.WalkDir(filepath.Join(top, "lookup"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if len(names) == maxAnswers {
			return fmt.Errorf("%s: more than %d files", top, maxAnswers)
		}
		rel, err := filepath.Rel(top, name)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return names, err
}

// check is that of the records.
func (k *goCache) check() *report.Check {
	return k.report.Check("G3", "records that the go command was given are logged", "records")
}

// readAnswer takes in one answer. The go command verifies it whenever it reads it,
// so that a damaged file is nobody's misbehaviour.
func (k *goCache) readAnswer(ctx context.Context, name string) {
	body, err := k.source.Read(ctx, name, maxAnswerSize)
	if errors.Is(err, fs.ErrNotExist) {
		return // it is being written
	}
	var a tlogclient.Answer
	if err == nil {
		a, err = tlogclient.ParseAnswer(body)
	}
	if err != nil {
		k.check().Findf(report.Failed, "%q: %q", name, err.Error())
		return
	}
	if _, ok := k.set.Add(heads.Elsewhere, fmt.Sprintf("%q", name), a.Note, k.log); ok {
		k.records = append(k.records, cachedRecord{name, a.Index, tlog.RecordHash(a.Text)})
	}
}

// proveRecords compares the records with the newest tree that the log shows.
func (k *goCache) proveRecords(ctx context.Context) error {
	check := k.check()
	if len(k.records) == 0 {
		check.Skip("the go command keeps no answers")
		return nil
	}
	slices.SortFunc(k.records, func(a, b cachedRecord) int { return cmp.Compare(a.index, b.index) })
	const batch = 256
	hashes := k.site.Log().Hashes(ctx, k.tree.Tree())
	for chunk := range slices.Chunk(k.records, batch) {
		var indexes []int64
		for _, r := range chunk {
			if r.index < k.tree.Size {
				indexes = append(indexes, tlog.StoredHashIndex(0, r.index))
			} else {
				check.Findf(report.Stale, "%q was entry %d, and the log shows %d entries", r.name, r.index, k.tree.Size)
			}
		}
		leaves, err := hashes.ReadHashes(indexes)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			check.Findf(report.Failed, "%d records could not be proven: %q", len(indexes), err.Error())
			continue
		}
		check.Add(int64(len(leaves)))
		for i, leaf := range leaves {
			if r := chunk[i]; leaf != r.leaf {
				check.Findf(report.Failed, "%q holds another record than entry %d of the log: see A5 for who showed it; the go command would not believe it now", r.name, r.index)
			}
		}
	}
	return nil
}
