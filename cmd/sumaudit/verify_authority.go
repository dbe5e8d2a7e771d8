// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/internal/goenv"
	"example.org/sumlog/internal/policy"
	"example.org/sumlog/internal/tlogclient"
	"example.org/sumlog/witness/audit/gosum"
	"example.org/sumlog/witness/audit/site"
	"example.org/sumlog/witness/audit/state"
)

// knownDatabases are those that go commands know by name, with their keys.
var knownDatabases = map[string]string{
	"sum.golang.org":       "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
	"sum.golang.google.cn": "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8 https://sum.golang.google.cn",
}

// database splits a GOSUMDB: a key, or the name of a known database, and the URL
// where it is if another than its name says.
func database(spec string) (vkey, url string) {
	if known, ok := knownDatabases[strings.TrimSpace(spec)]; ok {
		spec = known
	}
	f := strings.Fields(spec)
	if len(f) == 0 || len(f) > 2 {
		return spec, ""
	}
	if known, ok := knownDatabases[f[0]]; ok && !strings.Contains(known, " ") {
		f[0] = known
	}
	return f[0], strings.Join(f[1:], "")
}

// goEnv returns settings of the go command.
func goEnv(ctx context.Context) (map[string]string, error) {
	return goenv.Get(ctx, "GOSUMDB", "GOPROXY", "GONOSUMDB", "GOMODCACHE")
}

// What settings mean to verify, bundle and prove.
const (
	usageMaxAge  = "how old the cosignatures that -policy wants may be (default: any age)"
	usagePrivate = "module paths that are told to nobody, as in GOPRIVATE (default: what\n\"go env GONOSUMDB\" says)"
)

// cutURL takes the URL off the front of arguments, if there is one.
func cutURL(args []string) (url string, rest []string) {
	if len(args) > 0 && isURL(args[0]) {
		return args[0], args[1:]
	}
	return "", args
}

// isURL reports whether an argument is where a log is, rather than a file.
func isURL(arg string) bool { return strings.Contains(arg, "://") }

// An authority is whom verify, bundle and prove trust, and where it is.
type authority struct {
	trust  gosum.Trust
	policy string // the file
	url    string // "" where none was given
}

// authority returns the log that the command line says, or that the go command
// trusts if it says none. A key is not needed where a policy lists one, as far as
// no log has to be asked; url may be "".
func (c *call) authority(ctx context.Context, url string, offline bool) (a authority, err error) {
	spec := c.opts.vkey
	if c.verify.key != "" {
		spec = c.verify.key
	}
	a.url = url
	if a.trust.Policy, a.policy, err = c.policyFile(); err != nil {
		return a, err
	}
	if c.From["max-age"] != "" {
		if c.opts.maxAge <= 0 {
			return a, cli.Usagef("-max-age %v", c.opts.maxAge)
		}
		a.trust.MaxAge, a.trust.Now = c.opts.maxAge, time.Now()
	}
	if spec == "" && a.trust.Policy != nil && len(a.trust.Policy.Logs) > 0 {
		if offline {
			return a, nil
		}
		if logs := a.trust.Policy.Logs; len(logs) == 1 {
			a.trust.Key = logs[0].Key
			if a.url == "" {
				a.url = logs[0].URL
			}
			return a, nil
		}
	}
	if spec == "" {
		env, err := goEnv(ctx)
		if err != nil {
			return a, cli.Hint(err, "without a go command, -vkey VKEY says whom to trust")
		}
		if spec = env["GOSUMDB"]; spec == "off" || spec == "" {
			return a, cli.Usagef("no -vkey VKEY, and GOSUMDB is off")
		}
	}
	vkey, where := database(spec)
	if a.trust.Key, err = checkpoint.ParseKey(vkey); err != nil {
		return a, cli.Usagef("-vkey: %v", err)
	}
	if a.url == "" {
		a.url = where
	}
	if a.trust.Policy != nil {
		if _, err := a.trust.Policy.For(a.trust.Key); err != nil {
			return a, cli.Usagef("-policy %s: %v", c.opts.policy, err)
		}
	}
	return a, nil
}

// policyFile returns the policy in the file that -policy names, if it does.
func (c *call) policyFile() (*policy.Policy, string, error) {
	if c.opts.policy == "" {
		return nil, "", nil
	}
	data, err := readLimited(c.opts.policy, policy.MaxSize)
	if err != nil {
		return nil, "", fmt.Errorf("-policy: %w", err)
	}
	p, err := policy.Parse(data)
	if err != nil {
		return nil, "", cli.Usagef("-policy %s: %v", c.opts.policy, err).
			Hint("a whole one is a line \"log VKEY URL\", one \"witness NAME VKEY\" for each witness, \"group NAME K WITNESS…\", and \"quorum NAME\" or \"quorum none\": https://c2sp.org/tlog-policy")
	}
	return p, string(data), nil
}

// readLimited reads a file, or stdin for "-".
func readLimited(name string, limit int64) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return data, nil
}

// writeResult writes a file, or to stdout for "" and "-".
func (c *call) writeResult(name string, data []byte) error {
	if name == "" || name == "-" {
		_, err := c.Stdout.Write(data)
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.WriteFile(root, filepath.Base(name), data, 0o644)
}

// A session is a log that can be asked.
type session struct {
	authority
	state *state.State
	site  *site.Site
	http  *tlogclient.HTTP
}

// open finds the log.
func (c *call) open(ctx context.Context, a authority) (s *session, err error) {
	s = &session{authority: a, http: c.newHTTP()}
	if s.url == "" {
		if s.url, err = s.locate(ctx); err != nil {
			return nil, err
		}
	}
	if s.state, err = c.openState(ctx, a.trust.Key); err != nil {
		s.http.Close()
		return nil, err
	}
	cfg := site.Config{HTTP: s.http, URL: s.url, Key: a.trust.Key, Cache: s.state.Cache()}
	if s.site, err = site.Open(ctx, cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// How long to wait for a state that another process has open, and how often to look.
const (
	stateWait = 10 * time.Second
	statePoll = 100 * time.Millisecond
)

// openState opens the state, which a "log -watch" has open for as long as each of its
// audits takes.
func (c *call) openState(ctx context.Context, key *checkpoint.Key) (*state.State, error) {
	s, err := state.Open(c.opts.state, key)
	if !errors.Is(err, durable.ErrLocked) {
		return s, err
	}
	c.Say("waiting for %s, which another process has open", c.opts.state)
	ctx, cancel := context.WithTimeout(ctx, stateWait)
	defer cancel()
	tick := time.NewTicker(statePoll)
	defer tick.Stop()
	for errors.Is(err, durable.ErrLocked) {
		select {
		case <-ctx.Done():
			return nil, cli.Hint(err, "an audit of this log is running with it: try again later, or with -state OTHER")
		case <-tick.C:
			s, err = state.Open(c.opts.state, key)
		}
	}
	return s, err
}

func (s *session) close() {
	s.state.Close()
	s.http.Close()
}

// locate finds the database as a go command does: below the first proxy of GOPROXY
// that has it, or else by its name.
func (s *session) locate(ctx context.Context) (string, error) {
	name := s.trust.Key.Name()
	env, err := goEnv(ctx)
	if err != nil {
		return "", cli.Hint(err, "a URL after the key says where the log is")
	}
	for proxy := range strings.FieldsFuncSeq(env["GOPROXY"], func(r rune) bool { return r == ',' || r == '|' }) {
		proxy = strings.TrimSpace(proxy)
		if proxy == "direct" || proxy == "off" {
			break
		}
		below := strings.TrimSuffix(proxy, "/") + "/sumdb/" + name
		source, err := s.http.Source(below)
		if err != nil {
			continue // of another scheme
		}
		if _, err := source.Read(ctx, "supported", 1<<10); err == nil {
			return below, nil
		} else if !errors.Is(err, fs.ErrNotExist) && !tlogclient.Refused(err) {
			return "", err
		}
	}
	return "https://" + name, nil
}

// proven finds the log, and proves the records of mods. The caller closes the session,
// if there is no error.
func (c *call) proven(ctx context.Context, a authority, mods []module.Version) (s *session, set *gosum.Set, paths []string, err error) {
	if s, err = c.open(ctx, a); err != nil {
		return nil, nil, nil, err
	}
	if set, paths, err = c.proveAll(ctx, s, mods); err != nil {
		s.close()
		return nil, nil, nil, err
	}
	return s, set, paths, nil
}

// errContradiction is the error of whoever has written evidence.
var errContradiction = withCode(exitMisbehaviour, errors.New("something contradicts what the log has signed"))

// proveAll proves the records of mods, and reports what is wrong with the log.
func (c *call) proveAll(ctx context.Context, s *session, mods []module.Version) (*gosum.Set, []string, error) {
	seen, err := s.state.Heads()
	if err != nil {
		return nil, nil, err
	}
	cfg := gosum.Config{Site: s.site, Trust: s.trust, Saw: s.state.Saw}
	if len(seen) > 0 {
		cfg.Known = seen[len(seen)-1]
	}
	meter := c.Meter("looking up", c.Logger(slog.LevelInfo))
	cfg.Progress = meter.Set
	set, err := gosum.Prove(ctx, cfg, mods)
	meter.End()
	if fork, ok := errors.AsType[*tlogclient.ForkError](err); ok {
		return nil, nil, c.accuse(s, fork)
	}
	if err != nil {
		return nil, nil, err
	}
	var paths []string
	for _, e := range set.Evidence {
		path, err := c.keep(s.state, e)
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, path)
	}
	return set, paths, nil
}

// keep keeps evidence, and returns its file.
func (c *call) keep(s *state.State, e *evidence.Evidence) (string, error) {
	path, already, err := s.Evidence(e)
	if already {
		fmt.Fprintf(c.Stderr, "evidence of this is already kept: %s\n", path)
	}
	return path, err
}

// accuse writes the evidence of a fork and returns the error that says so.
func (c *call) accuse(s *session, fork *tlogclient.ForkError) error {
	e, err := fork.Evidence(s.trust.Key)
	if err != nil {
		return errors.Join(fork, err)
	}
	path, err := c.keep(s.state, e)
	if err != nil {
		return errors.Join(fork, err)
	}
	out := c.Stdout
	if c.opts.json {
		out = c.Stderr
	}
	fmt.Fprintf(out, "evidence: %s\n", path)
	return withCode(exitMisbehaviour, fork)
}

// privatePatterns returns what -private says, or GONOSUMDB. Only a go command that
// cannot be asked is not an error where no path is told to anybody.
func (c *call) privatePatterns(ctx context.Context, offline bool) (string, error) {
	if c.From["private"] != "" {
		return c.opts.private, nil
	}
	env, err := goEnv(ctx)
	if err != nil && !offline {
		return "", cli.Hint(err, "without a go command, -private GLOBS says which modules nobody may be asked for; none.invalid for none")
	}
	return env["GONOSUMDB"], nil
}
