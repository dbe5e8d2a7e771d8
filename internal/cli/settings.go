// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Setting is a flag, an environment variable, and maybe a key of a file.
type Setting[C Caller] struct {
	Name   string
	Value  string // what it takes, for help; "" is a switch
	Usage  string
	File   bool // is a key of a file
	Needed bool // by every command that has the flag
	Bind   func(f *flag.FlagSet, c C, name string)
}

// Text binds a setting to a string; def is its default.
func Text[C Caller](field func(C) *string, def string) func(*flag.FlagSet, C, string) {
	return func(f *flag.FlagSet, c C, name string) { f.StringVar(field(c), name, def, "") }
}

// Switch binds a setting to a bool that is false by default.
func Switch[C Caller](field func(C) *bool) func(*flag.FlagSet, C, string) {
	return func(f *flag.FlagSet, c C, name string) { f.BoolVar(field(c), name, false, "") }
}

// Time binds a setting to a duration; def is its default.
func Time[C Caller](field func(C) *time.Duration, def time.Duration) func(*flag.FlagSet, C, string) {
	return func(f *flag.FlagSet, c C, name string) {
		*field(c) = def
		f.Var((*duration)(field(c)), name, "")
	}
}

// A duration is the value of a setting that says what a number without a unit lacks.
type duration time.Duration

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		if _, number := strconv.ParseFloat(text, 64); number == nil {
			return fmt.Errorf("no unit: write %ss or %[1]sm", text)
		}
		return errors.New("not a time such as 90s, 5m or 1h30m")
	}
	*d = duration(v)
	return nil
}

func (d *duration) String() string { return time.Duration(*d).String() }

// Many binds a setting to a list.
func Many[C Caller](field func(C) *List) func(*flag.FlagSet, C, string) {
	return func(f *flag.FlagSet, c C, name string) { f.Var(field(c), name, "") }
}

// A List is the value of a flag that can be given any number of times. Where it
// can be given only once, in the environment, each line is a value.
type List []string

// Set adds values. No value is a mistake: most likely of a shell, in which a
// variable is not set.
func (l *List) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("empty")
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			*l = append(*l, line)
		}
	}
	return nil
}

func (l *List) String() string { return strings.Join(*l, "\n") }

// A File is a file of settings that was read.
type File struct {
	Name string
	Data []byte
}

// A KeyValue is a setting in a file.
type KeyValue struct{ Name, Value string }

// settings returns the table with what every program has.
func (p *Program[C]) settings() []Setting[C] {
	return append(p.Settings[:len(p.Settings):len(p.Settings)], Setting[C]{
		Name: logLevel, Value: "LEVEL", File: true,
		Usage: "what is logged: debug, info, warning or error, and what is worse\n(default: what matters to whoever runs it)",
		Bind:  bindLevel[C],
	})
}

// flags returns the names of the settings that a command has.
func (p *Program[C]) flags(cmd *Command[C]) []string {
	if len(cmd.Flags) == 0 {
		return nil
	}
	return append(cmd.Flags[:len(cmd.Flags):len(cmd.Flags)], logLevel)
}

// setting returns the setting of a name, or nil.
func (p *Program[C]) setting(name string) *Setting[C] {
	for _, s := range p.settings() {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

// env is the environment variable of a setting.
func (p *Program[C]) env(name string) string {
	return strings.ToUpper(strings.ReplaceAll(p.Name+"_"+name, "-", "_"))
}

// Parse returns the call of a command line, with settings from flags,
// environment and files, in this order of weight.
func (p *Program[C]) Parse(cmd *Command[C], args []string, stdout, stderr io.Writer) (C, error) {
	call := &Call{From: map[string]string{}, Stdout: stdout, Stderr: stderr, stream: &logStream{program: p.Name, w: stderr}}
	c := p.New(call)
	return c, p.parse(cmd, c, args)
}

func (p *Program[C]) parse(cmd *Command[C], c C, args []string) error {
	mine := flag.NewFlagSet(cmd.Name, flag.ContinueOnError)
	mine.SetOutput(io.Discard)
	// Files are read by several commands, and hold settings that not all of
	// those have as flags.
	all := flag.NewFlagSet(cmd.Name, flag.ContinueOnError)
	all.SetOutput(io.Discard)
	for _, s := range p.settings() {
		s.Bind(all, c, s.Name)
		if slices.Contains(p.flags(cmd), s.Name) {
			s.Bind(mine, c, s.Name)
		}
	}
	if err := p.parseFlags(cmd, c.Base(), mine, args); err != nil {
		return err
	}
	if err := p.parseEnv(cmd, c.Base(), mine); err != nil {
		return err
	}
	for _, name := range cmd.Flags {
		if s := p.setting(name); s.Needed && mine.Lookup(name).Value.String() == "" {
			return Usagef("%s needs -%s %s", cmd.Name, name, s.Value).Hint("%s help %s", p.Name, cmd.Name)
		}
	}
	if err := p.parseFiles(cmd, c, all); err != nil {
		return err
	}
	return p.checkPlaces(cmd, c.Base(), func(name string) string { return all.Lookup(name).Value.String() })
}

func (p *Program[C]) parseFlags(cmd *Command[C], call *Call, f *flag.FlagSet, args []string) error {
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return Usagef("%s: %v", cmd.Name, err).Hint("%s help %s", p.Name, cmd.Name)
		}
		rest := f.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			call.Args = append(call.Args, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		call.Args, args = append(call.Args, rest[0]), rest[1:]
	}
	f.Visit(func(f *flag.Flag) { call.From[f.Name] = "-" + f.Name })
	if !cmd.NArgs(len(call.Args)) {
		return Usagef("wrong arguments: %q", call.Args).Hint("usage: %s", p.usage(cmd))
	}
	return nil
}

// parseEnv takes from the environment what the flags left open. An empty
// variable is as good as none.
func (p *Program[C]) parseEnv(cmd *Command[C], call *Call, f *flag.FlagSet) error {
	for _, name := range p.flags(cmd) {
		env := p.env(name)
		value := os.Getenv(env)
		if value == "" || call.From[name] != "" {
			continue
		}
		if err := f.Set(name, value); err != nil {
			return Usagef("%s=%q: %v", env, value, err)
		}
		call.From[name] = env
	}
	return nil
}

// parseFiles takes from the files what is still open.
func (p *Program[C]) parseFiles(cmd *Command[C], c C, f *flag.FlagSet) error {
	if p.Files == nil {
		return nil
	}
	files, err := p.Files(cmd, c)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := p.parseFile(c.Base(), f, file); err != nil {
			return err
		}
	}
	return nil
}

// parseFile is strict: a key that is not known, misspelt maybe, would leave a
// setting at its default, and some defaults tell private paths to the public.
func (p *Program[C]) parseFile(call *Call, f *flag.FlagSet, file File) error {
	keys, err := p.ParseFile(file.Data)
	if err != nil {
		return Usagef("%s: %v", file.Name, err)
	}
	for _, k := range keys {
		if call.From[k.Name] != "" {
			// What is overridden must be well-formed all the same; it is
			// checked where the file is used without the override.
			continue
		}
		if err := f.Set(k.Name, k.Value); err != nil {
			return Usagef("%s: %s = %q: %v", file.Name, k.Name, k.Value, err)
		}
		call.From[k.Name] = file.Name
	}
	return nil
}

// ParseFile parses the text of a settings file.
func (p *Program[C]) ParseFile(data []byte) ([]KeyValue, error) {
	m, err := p.Decode(data)
	if err != nil {
		return nil, err
	}
	var keys []KeyValue
	for name, v := range m {
		s := p.setting(name)
		if s == nil || !s.File {
			return nil, fmt.Errorf("unknown key %q", name)
		}
		switch v := v.(type) {
		case string:
			keys = append(keys, KeyValue{name, v})
		case bool:
			if s.Value != "" {
				return nil, fmt.Errorf("%s is not a string", name)
			}
			keys = append(keys, KeyValue{name, fmt.Sprint(v)})
		default:
			return nil, fmt.Errorf("%s is neither a string nor true or false", name)
		}
	}
	slices.SortFunc(keys, func(a, b KeyValue) int { return strings.Compare(a.Name, b.Name) })
	return keys, nil
}
