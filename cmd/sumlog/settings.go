// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// options are the values of all settings.
type options struct {
	dir, name, key, guard string
	listen                string
	open                  bool
	upstream, sumdb       string
	private               string
	privateUpstream       string
	policy                string
	interval              time.Duration
	config                string
	init                  bool
	url                   string
	json                  bool
}

// A setting is a flag, an environment variable, and maybe a key of a file.
type setting struct {
	name  string
	value string // what it takes, for help; "" is a switch
	usage string
	file  bool // is a key of a file
	bind  func(f *flag.FlagSet, o *options, name string)
}

func text(field func(*options) *string, value string) func(*flag.FlagSet, *options, string) {
	return func(f *flag.FlagSet, o *options, name string) { f.StringVar(field(o), name, value, "") }
}

func toggle(field func(*options) *bool) func(*flag.FlagSet, *options, string) {
	return func(f *flag.FlagSet, o *options, name string) { f.BoolVar(field(o), name, false, "") }
}

const (
	defaultListen   = "127.0.0.1:8070"
	defaultURL      = "http://" + defaultListen
	defaultInterval = time.Second
)

// settings is the one table of all settings: their flags, their variables
// SUMLOG_*, their keys in files, their defaults.
var settings = []setting{
	{"dir", "DIR", "the data directory", false, text(func(o *options) *string { return &o.dir }, "")},
	{"name", "NAME", "the log's name, host[/path], such as sum.example.org", false, text(func(o *options) *string { return &o.name }, "")},
	{"key", "FILE", "a note signing key to use instead of a new one", false, text(func(o *options) *string { return &o.key }, "")},
	{"guard", "FILE", "where the largest size signed is kept (default DIR/guard); on\nanother disk it notices when DIR is replaced by an older copy", true, text(func(o *options) *string { return &o.guard }, "")},
	{"listen", "ADDR", "address to listen on (default " + defaultListen + ")", true, text(func(o *options) *string { return &o.listen }, defaultListen)},
	{"open", "", "allow an address that is not loopback: anyone who can look up can\nmake the log grow", true, toggle(func(o *options) *bool { return &o.open })},
	{"upstream", "LIST", "where public modules come from, as GOPROXY; off: only what is\nstored (default: go env GOPROXY, as of init)", true, text(func(o *options) *string { return &o.upstream }, "")},
	{"sumdb", "SPEC", "the database that proves public records, as GOSUMDB; off: compute\nevery record (default: go env GOSUMDB, as of init)", true, text(func(o *options) *string { return &o.sumdb }, "")},
	{"private", "GLOBS", "private modules, as GOPRIVATE; never sent to a public upstream or\ndatabase (default: go env GOPRIVATE, as of init)", true, text(func(o *options) *string { return &o.private }, "")},
	{"private-upstream", "LIST", "where private modules come from, and nowhere else (default off)", true, text(func(o *options) *string { return &o.privateUpstream }, "off")},
	{"witness-policy", "FILE", "which witnesses must cosign; this version asks none and refuses it", true, text(func(o *options) *string { return &o.policy }, "")},
	{"publish-interval", "TIME", "least time between publications that need witnesses (default 1s)", true, func(f *flag.FlagSet, o *options, name string) {
		f.DurationVar(&o.interval, name, defaultInterval, "")
	}},
	{"config", "FILE", "a TOML file of settings; it counts more than DIR/sumlog.toml", false, text(func(o *options) *string { return &o.config }, "")},
	{"init", "", "create the log first if DIR is missing or empty", false, toggle(func(o *options) *bool { return &o.init })},
	{"url", "URL", "the server as clients reach it (default " + defaultURL + ")", false, text(func(o *options) *string { return &o.url }, defaultURL)},
	{"json", "", "print JSON", false, toggle(func(o *options) *bool { return &o.json })},
}

func findSetting(name string) *setting {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

// env is the environment variable of the setting.
func (s *setting) env() string {
	return "SUMLOG_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// parse fills c from flags, environment and files, in this order of weight.
// Flags may stand before, between and after positional arguments.
func (c *call) parse(args []string) error {
	c.from = map[string]string{}
	mine := flag.NewFlagSet(c.cmd.name, flag.ContinueOnError)
	mine.SetOutput(io.Discard)
	// Files are read by several commands, and hold settings of the server that
	// not all of those have as flags.
	all := flag.NewFlagSet(c.cmd.name, flag.ContinueOnError)
	all.SetOutput(io.Discard)
	for _, s := range settings {
		s.bind(all, &c.opts, s.name)
		if slices.Contains(c.cmd.flags, s.name) {
			s.bind(mine, &c.opts, s.name)
		}
	}
	if err := c.parseFlags(mine, args); err != nil {
		return err
	}
	if err := c.parseEnv(mine); err != nil {
		return err
	}
	if slices.Contains(c.cmd.flags, "dir") && c.opts.dir == "" {
		return usagef("%s needs -dir DIR", c.cmd.name).hint("sumlog help %s", c.cmd.name)
	}
	return c.parseFiles(all)
}

func (c *call) parseFlags(f *flag.FlagSet, args []string) error {
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return usagef("%s: %v", c.cmd.name, err).hint("sumlog help %s", c.cmd.name)
		}
		rest := f.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			c.args = append(c.args, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		c.args, args = append(c.args, rest[0]), rest[1:]
	}
	f.Visit(func(f *flag.Flag) { c.from[f.Name] = "-" + f.Name })
	if !c.cmd.nargs(len(c.args)) {
		return usagef("wrong arguments: %q", c.args).hint("usage: %s", c.cmd.usage())
	}
	return nil
}

// parseEnv takes from the environment what the flags left open. An empty
// variable is as good as none.
func (c *call) parseEnv(f *flag.FlagSet) error {
	for _, name := range c.cmd.flags {
		env := findSetting(name).env()
		value := os.Getenv(env)
		if value == "" || c.from[name] != "" {
			continue
		}
		if err := f.Set(name, value); err != nil {
			return usagef("%s=%q: %v", env, value, err)
		}
		c.from[name] = env
	}
	return nil
}

// settingsFile is in the data directory; init writes it.
const settingsFile = "sumlog.toml"

// parseFiles takes from the files what is still open.
func (c *call) parseFiles(f *flag.FlagSet) error {
	if c.opts.config != "" {
		data, err := os.ReadFile(c.opts.config)
		if err != nil {
			return usageError(err.Error())
		}
		if err := c.parseFile(f, c.opts.config, data); err != nil {
			return err
		}
	}
	if c.opts.dir == "" || !slices.Contains(c.cmd.flags, "guard") {
		return nil // a command that reads no settings
	}
	name := filepath.Join(c.opts.dir, settingsFile)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.parseFile(f, name, data)
}

// parseFile is strict: a key that is not known, misspelt maybe, would leave a
// setting at its default, and some defaults tell private paths to the public.
func (c *call) parseFile(f *flag.FlagSet, name string, data []byte) error {
	keys, err := parseSettings(data)
	if err != nil {
		return usagef("%s: %v", name, err)
	}
	for _, k := range keys {
		if c.from[k.name] != "" {
			// What is overridden must be well-formed all the same; it is
			// checked where the file is used without the override.
			continue
		}
		if err := f.Set(k.name, k.value); err != nil {
			return usagef("%s: %s = %q: %v", name, k.name, k.value, err)
		}
		c.from[k.name] = name
	}
	return nil
}

// A keyValue is a line of a settings file.
type keyValue struct{ name, value string }

// parseSettings parses the text of a settings file.
func parseSettings(data []byte) ([]keyValue, error) {
	var m map[string]any
	if err := toml.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	var keys []keyValue
	for name, v := range m {
		s := findSetting(name)
		if s == nil || !s.file {
			return nil, fmt.Errorf("unknown key %q", name)
		}
		switch v := v.(type) {
		case string:
			keys = append(keys, keyValue{name, v})
		case bool:
			if s.value != "" {
				return nil, fmt.Errorf("%s is not a string", name)
			}
			keys = append(keys, keyValue{name, fmt.Sprint(v)})
		default:
			return nil, fmt.Errorf("%s is neither a string nor true or false", name)
		}
	}
	slices.SortFunc(keys, func(a, b keyValue) int { return strings.Compare(a.name, b.name) })
	return keys, nil
}

// formatSettings is the text of the file that init writes.
func formatSettings(keys []keyValue) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Settings of this log's server, as of sumlog init. Each can be overridden by\n" +
		"# an environment variable (SUMLOG_UPSTREAM) or a flag (-upstream).\n\n")
	for _, k := range keys {
		if strings.ContainsFunc(k.value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }) {
			return nil, usagef("%s: %q holds control characters", k.name, k.value)
		}
		fmt.Fprintf(&b, "%s = \"%s\"\n", k.name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(k.value))
	}
	return []byte(b.String()), nil
}
