// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/record"
	"example.org/sumlog/internal/sumfile"
	"example.org/sumlog/witness/audit/gosum"
	"example.org/sumlog/witness/audit/modfiles"
)

// A verifyInput is what is to be verified.
type verifyInput struct {
	inputs  []gosum.Input
	claims  []gosum.Claim
	vendors []*modfiles.Vendor // their claims are made when records are known
}

func (c *call) verifyInputs(ctx context.Context, args []string) (*verifyInput, error) {
	kind := gosum.KindSum
	switch {
	case c.verify.cache:
		kind = gosum.KindCache
	case c.verify.vendor:
		kind = gosum.KindVendor
	case c.verify.binary:
		kind = gosum.KindBinary
	}
	if len(args) == 0 {
		var err error
		if args, err = defaultInputs(ctx, kind); err != nil {
			return nil, err
		}
	}
	in := &verifyInput{}
	for _, name := range args {
		if err := in.add(ctx, c, kind, name); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func defaultInputs(ctx context.Context, kind string) (names []string, err error) {
	switch kind {
	case gosum.KindCache:
		env, err := goEnv(ctx)
		return []string{env["GOMODCACHE"]}, err
	case gosum.KindVendor:
		return []string{"vendor"}, nil
	}
	for _, name := range []string{"go.sum", "go.work.sum"} {
		if _, err := os.Stat(name); err == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, cli.Usagef("no FILE, and no go.sum here")
	}
	return names, nil
}

func (in *verifyInput) add(ctx context.Context, c *call, kind, name string) (err error) {
	input := gosum.Input{Kind: kind, Name: name}
	var claims []gosum.Claim
	switch kind {
	case gosum.KindSum:
		input, claims, err = readSum(name)
	case gosum.KindBinary:
		if input.Size, input.SHA256, err = digest(name); err == nil {
			claims, err = modfiles.Binary(name)
		}
	case gosum.KindCache:
		meter := c.Meter("hashing", c.Logger(slog.LevelInfo))
		claims, err = modfiles.Cache(ctx, name, meter.Set)
		meter.End()
	case gosum.KindVendor:
		var v *modfiles.Vendor
		v, err = modfiles.OpenVendor(name)
		in.vendors = append(in.vendors, v)
	}
	in.inputs = append(in.inputs, input)
	in.claims = append(in.claims, claims...)
	return err
}

func readSum(name string) (gosum.Input, []gosum.Claim, error) {
	data, err := readLimited(name, sumfile.MaxFile)
	if err != nil {
		return gosum.Input{}, nil, err
	}
	claims, err := gosum.Parse(name, data)
	return gosum.Input{Kind: gosum.KindSum, Name: name, Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}, claims, err
}

func digest(name string) (size int64, sum string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, fmt.Sprintf("%x", h.Sum(nil)), err
}

// modules returns the module versions that records are needed of.
func (in *verifyInput) modules(private string) []module.Version {
	claims := in.claims
	for _, v := range in.vendors {
		for _, m := range v.Modules() {
			// As if there were a hash: Modules knows what may be asked for.
			claims = append(claims, gosum.Claim{Path: m.Path, Version: m.Version, Hash: "h1:"})
		}
	}
	return gosum.Modules(claims, private)
}

// all returns all claims, now that records are known.
func (in *verifyInput) all(ctx context.Context, c *call, private string, f gosum.Finder, z *zips) ([]gosum.Claim, error) {
	claims := in.claims
	if len(in.vendors) == 0 {
		return claims, nil
	}
	if z.cache = c.verify.modcache; z.cache == "" {
		if env, err := goEnv(ctx); err == nil {
			z.cache = env["GOMODCACHE"]
		}
	}
	defer z.close()
	want := func(m module.Version) (string, gosum.Verdict, string) {
		if module.MatchPrefixPatterns(private, m.Path) {
			return "", gosum.Private, "private by pattern, and not asked for"
		}
		e, v, why := f.Find(m.Path, m.Version)
		return record.H1(e.Zip), v, why
	}
	for _, v := range in.vendors {
		more, err := v.Claims(ctx, want, z.find)
		if err != nil {
			return nil, err
		}
		claims = append(claims, more...)
	}
	return claims, nil
}

// zips finds zips: those of the module cache, which cost nothing, and else those at
// the URL.
type zips struct {
	call     *call
	session  *session   // nil: nobody is asked
	set      *gosum.Set // of the session
	cache    string
	temp     *os.File
	evidence []string // files, of zips that contradict the log
}

func (z *zips) find(ctx context.Context, m module.Version, want string) (name, h1 string, err error) {
	if z.cache != "" {
		name, h1, err = modfiles.Zip(z.cache, m)
		if err == nil && h1 == want {
			return name, h1, nil
		}
	}
	if z.session == nil {
		if err == nil {
			err = fmt.Errorf("in the module cache is one with the hash %s", h1)
		}
		return "", "", err
	}
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return "", "", err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return "", "", err
	}
	if z.temp == nil {
		if z.temp, err = os.CreateTemp("", "sumaudit"); err != nil {
			return "", "", err
		}
	}
	if _, err := z.session.site.Fetch(ctx, path+"/@v/"+version+".zip", modzip.MaxZipFile, z.temp); err != nil {
		return "", "", err
	}
	at := time.Now()
	h1, err = modfiles.HashZip(z.temp.Name(), m)
	switch {
	case err == nil && h1 == want:
		return z.temp.Name(), h1, nil
	case err == nil:
		err = fmt.Errorf("what %s gives has the hash %s", z.session.site.URL, h1)
	case !errors.Is(err, zip.ErrFormat):
		// A zip that a go command would not extract may be the one logged.
		return "", "", err
	}
	a := evidence.Answer{
		Service: evidence.Zip, Time: at, Status: http.StatusOK,
		URL: z.session.site.Address(path + "/@v/" + version + ".zip"),
	}
	return "", "", errors.Join(err, z.accuse(m, a, h1))
}

// accuse writes the evidence that a zip which was fetched is not the one logged. From
// a directory there is none: it was not answered by anybody.
func (z *zips) accuse(m module.Version, a evidence.Answer, h1 string) error {
	if !strings.HasPrefix(a.URL, "http") {
		return nil
	}
	_, sum, err := digest(z.temp.Name())
	if err != nil {
		return err
	}
	if _, err := hex.Decode(a.SHA256[:], []byte(sum)); err != nil {
		return err
	}
	if h1 != "" {
		var ok bool
		if a.H1, ok = record.ParseH1(h1); !ok {
			return fmt.Errorf("%q is no hash of a zip", h1)
		}
	}
	p, err := z.set.Proven(m.Path, m.Version)
	if err != nil {
		return err
	}
	e, err := evidence.Observe(p, a)
	if err != nil {
		return err
	}
	name, err := z.call.keep(z.session.state, e)
	if err == nil {
		z.evidence = append(z.evidence, name)
	}
	return err
}

func (z *zips) close() {
	if z.temp != nil {
		z.temp.Close()
		os.Remove(z.temp.Name())
	}
}

// compareInputs compares a report with the files it is about, as far as they are
// here. A file that is another one now is said, and is not an error: the report is
// about what it was then. Lines that are not those of the file are.
func (c *call) compareInputs(r *gosum.Report) error {
	for _, in := range r.Inputs {
		if in.Kind != gosum.KindSum && in.Kind != gosum.KindBinary {
			c.Say("%s: not read again", in.Name)
			continue
		}
		_, sum, err := digest(in.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.Say("%s: not here", in.Name)
			continue
		case err != nil:
			return err
		case sum != in.SHA256:
			c.Say("%s: changed since the report", in.Name)
			continue
		}
		var claims []gosum.Claim
		if in.Kind == gosum.KindSum {
			_, claims, err = readSum(in.Name)
		} else {
			claims, err = modfiles.Binary(in.Name)
		}
		if err != nil {
			return err
		}
		if !sameClaims(claims, r, in.Name) {
			return fmt.Errorf("%w: its lines are not those of %s", gosum.ErrReport, filepath.Base(in.Name))
		}
	}
	return nil
}

func sameClaims(claims []gosum.Claim, r *gosum.Report, name string) bool {
	n := 0
	for _, i := range r.Lines {
		if i.File != name {
			continue
		}
		if n >= len(claims) || i.Claim != claims[n] {
			return false
		}
		n++
	}
	return n == len(claims)
}
