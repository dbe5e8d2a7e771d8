// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/dirhash"
)

// graphModule is what the go command's module requires, at its latest version.
const graphModule = "github.com/prometheus/client_golang"

// A graph is what the go command downloads.
type graph struct {
	upstream, sumdb string // as the go command is set
	mod             string // text of go.mod
	filled          string // data directory of a sumlog that has it all
}

// errSkip is wrapped by the reason why a part cannot be measured here.
var errSkip = errors.New("skipped")

// goGraph finds out what to download, and whether upstream can be reached.
func (b *bench) goGraph() (*graph, error) {
	if b.graph != nil {
		return b.graph, nil
	}
	out, err := b.goCommand(b.temp, nil, "env", "-json", "GOPROXY", "GOSUMDB", "GOVERSION")
	if err != nil {
		return nil, err
	}
	var env struct{ GOPROXY, GOSUMDB, GOVERSION string }
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, err
	}
	g := &graph{upstream: env.GOPROXY, sumdb: env.GOSUMDB}
	if g.sumdb == "off" {
		g.sumdb = "sum.golang.org"
	}
	dir, err := b.newDir("latest")
	if err != nil {
		return nil, err
	}
	out, err = b.goCommand(dir, client(dir, g.upstream, g.sumdb), "list", "-m", "-f", "{{.Version}}", graphModule+"@latest")
	if err != nil {
		return nil, fmt.Errorf("%w: upstream cannot be reached: %w", errSkip, err)
	}
	version := strings.TrimSpace(string(out))
	g.mod = fmt.Sprintf("module example.com/graph\n\ngo %s\n\nrequire %s %s\n", strings.TrimPrefix(env.GOVERSION, "go"), graphModule, version)
	b.graph = g
	b.table.note("The go command runs `go mod download all` in a module that requires %s %s, with GOPATH and GOMODCACHE empty each time", graphModule, version)
	return g, nil
}

// client is the environment of a go command that has and knows nothing, with
// its caches below dir.
func client(dir, proxy, sumdb string) []string {
	return []string{
		"GOENV=off", "GOTOOLCHAIN=local", "GOWORK=off", "GO111MODULE=on", "GOFLAGS=-mod=mod -modcacherw",
		"GOPROXY=" + proxy, "GOSUMDB=" + sumdb, "GONOPROXY=none", "GONOSUMDB=none", "GOPRIVATE=",
		"GOPATH=" + filepath.Join(dir, "gopath"), "GOMODCACHE=" + filepath.Join(dir, "modcache"),
	}
}

func (b *bench) goCommand(dir string, env []string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(environment(), "PWD="+dir), env...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		text := strings.TrimSpace(string(exit.Stderr))
		err = fmt.Errorf("go %s: %w: %s", args[0], err, text[max(0, len(text)-300):])
	}
	return out, err
}

// download returns the seconds that a go command with empty caches takes.
func (b *bench) download(g *graph, proxy, sumdb string) (float64, error) {
	dir, err := b.newDir("client")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	return b.downloadTo(dir, g, proxy, sumdb)
}

// downloadTo leaves what was downloaded in the modcache below dir.
func (b *bench) downloadTo(dir string, g *graph, proxy, sumdb string) (float64, error) {
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(g.mod), 0o644); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := b.goCommand(dir, client(dir, proxy, sumdb), "mod", "download", "all"); err != nil {
		return 0, err
	}
	took := time.Since(begin).Seconds()
	zips, bytes, err := countZips(filepath.Join(dir, "modcache"))
	if err == nil && zips == 0 {
		err = errors.New("go mod download all downloaded nothing")
	}
	b.table.note("It downloads %d zips of %.0f MB", zips, float64(bytes)/1e6)
	return took, err
}

func countZips(modcache string) (n int, bytes int64, err error) {
	err = eachZip(modcache, func(_ string, fi fs.FileInfo) error {
		n++
		bytes += fi.Size()
		return nil
	})
	return n, bytes, err
}

// eachZip calls f for the zips of a module cache.
func eachZip(modcache string, f func(name string, fi fs.FileInfo) error) error {
	return filepath.WalkDir(downloads(modcache), func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".zip" {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		return f(name, fi)
	})
}

// downloads is the part of a module cache that is a GOPROXY tree.
func downloads(modcache string) string { return filepath.Join(modcache, "cache", "download") }

// measureCold compares the first download through a new sumlog with one straight
// from upstream, both with the public database's verification.
func measureCold(b *bench) error {
	g, err := b.goGraph()
	if err != nil {
		return err
	}
	rounds := 5
	if b.short {
		rounds = 1
	} else if _, err := b.download(g, g.upstream, g.sumdb); err != nil { // upstream's caches are warm then
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	return b.compareTimes("cold `go mod download all`; floor: straight from upstream", rounds, 1.5,
		func() (float64, error) { return b.fill(g) },
		func() (float64, error) { return b.download(g, g.upstream, g.sumdb) })
}

// measureFill is measureCold with an upstream on this machine, which is as fast
// as can be: what is left is sumlog's own. Its CPU time is compared with that of
// x/mod's hash of the same zips, which inflates them once.
func measureFill(b *bench) error {
	g, err := b.goGraph()
	if err != nil {
		return err
	}
	dir, err := b.newDir("local")
	if err != nil {
		return err
	}
	if _, err := b.downloadTo(dir, g, g.upstream, g.sumdb); err != nil {
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	modcache := filepath.Join(dir, "modcache")
	upstream, err := b.floor(floorSpec{Tree: downloads(modcache)})
	if err != nil {
		return err
	}
	defer upstream.close()
	local := *g
	local.upstream, local.sumdb = upstream.url(), "off"
	rounds := 7
	if b.short {
		rounds = 1
	}
	var cpu, floor []float64
	err = b.compareTimes("cold `go mod download all`, upstream on this machine; floor: straight from it, unverified", rounds, 1.1,
		func() (float64, error) {
			took, used, err := b.fillUsing(&local)
			cpu = append(cpu, used.Seconds())
			return took, err
		},
		func() (float64, error) {
			used, err := hashZips(modcache)
			if err != nil {
				return 0, err
			}
			floor = append(floor, used.Seconds())
			return b.download(&local, local.upstream, "off")
		})
	if err != nil {
		return err
	}
	x, y := median(cpu), median(floor)
	seconds := func(x float64) string { return fmt.Sprintf("%.2f s", x) }
	b.table.add(atMost("CPU of sumlog for it; floor: inflate and hash the zips once (x/mod)", seconds(x), seconds(y), x/y, 1.25))
	return nil
}

// hashZips returns the CPU time that x/mod's hash of all zips of a module cache
// takes.
func hashZips(modcache string) (time.Duration, error) {
	begin, err := ownCPU()
	if err != nil {
		return 0, err
	}
	err = eachZip(modcache, func(name string, _ fs.FileInfo) error {
		_, err := dirhash.HashZip(name, dirhash.Hash1)
		return err
	})
	if err != nil {
		return 0, err
	}
	end, err := ownCPU()
	return end - begin, err
}

// ownCPU is the CPU time of this process.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// fill downloads through a new sumlog.
func (b *bench) fill(g *graph) (float64, error) {
	took, _, err := b.fillUsing(g)
	return took, err
}

// fillUsing is fill, and returns the CPU time that sumlog used for it.
func (b *bench) fillUsing(g *graph) (took float64, used time.Duration, err error) {
	temp, err := b.newDir("graph")
	if err != nil {
		return 0, 0, err
	}
	dir := filepath.Join(temp, "sumlog")
	s, err := b.serve(dir, "-init", "-upstream", g.upstream, "-sumdb", g.sumdb, "-private", "")
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	begin, err := s.cpu()
	if err != nil {
		return 0, 0, err
	}
	if took, err = b.through(g, s, dir); err != nil {
		return 0, 0, err
	}
	g.filled = dir
	end, err := s.cpu()
	return took, end - begin, err
}

// through downloads through the sumlog on dir, verified by its own database.
func (b *bench) through(g *graph, s *serving, dir string) (float64, error) {
	vkey, err := b.vkey(dir)
	if err != nil {
		return 0, err
	}
	took, err := b.download(g, s.url(), vkey)
	if err != nil {
		err = fmt.Errorf("%w (%s)", err, s.tail)
	}
	return took, err
}

// vkey returns the GOSUMDB of the log in dir.
func (b *bench) vkey(dir string) (string, error) {
	cmd := exec.CommandContext(b.ctx, b.sumlog, "env", "-dir", dir, "-json")
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("sumlog env: %w", err)
	}
	var env struct{ GOSUMDB string }
	err = json.Unmarshal(out, &env)
	return env.GOSUMDB, err
}

// measureWarm compares downloads through a sumlog that has everything, verified
// by its database, with an http.FileServer over the same files, unverified.
func measureWarm(b *bench) error {
	g, err := b.goGraph()
	if err != nil {
		return err
	}
	if g.filled == "" {
		if _, err := b.fill(g); err != nil {
			return fmt.Errorf("%w: %w", errSkip, err)
		}
	}
	s, err := b.serve(g.filled, "-upstream", "off", "-sumdb", "off", "-private", "")
	if err != nil {
		return err
	}
	defer s.close()
	floor, err := b.floor(floorSpec{Tree: filepath.Join(g.filled, "mirror")})
	if err != nil {
		return err
	}
	defer floor.close()
	rounds := 9
	if b.short {
		rounds = 1
	} else if _, err := b.through(g, s, g.filled); err != nil {
		// The first use of each file since the server's start checks it again.
		return err
	}
	return b.compareTimes("warm `go mod download all`, verified; floor: http.FileServer, unverified", rounds, 1.1,
		func() (float64, error) { return b.through(g, s, g.filled) },
		func() (float64, error) { return b.download(g, floor.url(), "off") })
}

// compareTimes compares two clients' seconds. Which goes first changes from round to
// round, since what the first one leaves behind costs the second.
func (b *bench) compareTimes(what string, rounds int, goal float64, mine, floor func() (float64, error)) error {
	times := map[bool][]float64{} // of sumlog: true
	for i := range rounds {
		for _, sumlog := range []bool{i%2 == 0, i%2 != 0} {
			f := floor
			if sumlog {
				f = mine
			}
			t, err := f()
			if err != nil {
				return err
			}
			times[sumlog] = append(times[sumlog], t)
		}
	}
	x, y := median(times[true]), median(times[false])
	seconds := func(x float64) string { return fmt.Sprintf("%.2f s", x) }
	b.table.add(atMost(what, seconds(x), seconds(y), x/y, goal))
	return nil
}
