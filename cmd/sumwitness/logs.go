// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/witness/state"
)

var cmdLogs = &command{
	Name:  "logs",
	Args:  "[ORIGIN]",
	Short: "list, add, disable and enable logs",
	Long: `
Logs prints the logs that the witness knows, a line each: whether it is enabled,
the size and the time of the newest checkpoint that was cosigned, and the origin.
With ORIGIN it prints all about this one, and that checkpoint. With -json it
prints an object a line.

With -add, -disable or -enable it makes that change instead, through the server
if one runs on DIR. Logs cannot be removed: the state of one that came back would
be missing. A disabled one is answered as if it was not known, and no list of
logs enables it again.
`,
	Flags: []string{"dir", "add", "disable", "enable", "json", "key", "guard"},
	NArgs: func(n int) bool { return n <= 1 },
	Run:   runLogs,
}

func runLogs(ctx context.Context, c *call) error {
	ch := changes{c.opts.add, c.opts.disable, c.opts.enable}
	if len(ch.Add)+len(ch.Disable)+len(ch.Enable) > 0 {
		if len(c.Args) > 0 || c.opts.json {
			return cli.Usagef("-add, -disable and -enable print nothing")
		}
		return c.change(ctx, ch)
	}
	v, err := state.OpenView(c.opts.dir)
	if err != nil {
		return hintOpen(err, c.opts.dir)
	}
	defer v.Close()
	logs, err := v.Logs()
	if err != nil {
		return err
	}
	if len(c.Args) == 1 {
		return c.showLog(v, logs, c.Args[0])
	}
	if c.opts.json {
		e := json.NewEncoder(c.Stdout)
		e.SetEscapeHTML(false)
		for _, l := range logs {
			if err := e.Encode(newLogJSON(l)); err != nil {
				return err
			}
		}
		return nil
	}
	return listLogs(c.Stdout, logs)
}

// change makes changes: through the server if there is one.
func (c *call) change(ctx context.Context, ch changes) error {
	if _, err := parseLogs(ch.Add, "logs -add"); err != nil {
		return err
	}
	err := ch.send(ctx, c.opts.dir)
	if !errors.Is(err, errNoServer) {
		return err
	}
	w, closing, err := c.openWitness(c.Logger(slog.LevelWarn))
	if errors.Is(err, durable.ErrLocked) {
		return cli.Hint(err, "a server runs on %s and does not answer on %s/%s; stop it first", c.opts.dir, c.opts.dir, controlFile)
	}
	if err != nil {
		return err
	}
	return errors.Join(ch.apply(w), closing())
}

// listLogs prints a line for each log. The origin is last: it may have spaces.
func listLogs(w io.Writer, logs []state.Entry) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, l := range logs {
		when := "never"
		if l.Time > 0 {
			when = time.Unix(l.Time, 0).UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\n", enabled(l), l.Tree.N, when, l.Origin)
	}
	return tw.Flush()
}

func enabled(l state.Entry) string {
	if l.Disabled {
		return "disabled"
	}
	return "enabled"
}

// A logJSON is a log as -json prints it.
type logJSON struct {
	Origin   string
	Keys     []string
	Disabled bool
	QPD      int    `json:",omitempty"`
	Contact  string `json:",omitempty"`
	Source   string `json:",omitempty"`
	Size     int64
	Root     string `json:",omitempty"` // base64
	Time     int64  `json:",omitempty"` // POSIX
	Note     string `json:",omitempty"` // with ORIGIN only
}

func newLogJSON(l state.Entry) logJSON {
	j := logJSON{Origin: l.Origin, Disabled: l.Disabled, QPD: l.QPD, Contact: l.Contact, Source: l.Source, Size: l.Tree.N, Time: l.Time}
	for _, k := range l.Keys {
		j.Keys = append(j.Keys, k.String())
	}
	if l.Time > 0 {
		j.Root = l.Tree.Hash.String()
	}
	return j
}

// showLog prints all about one log.
func (c *call) showLog(v *state.View, logs []state.Entry, origin string) error {
	for _, l := range logs {
		if l.Origin != origin {
			continue
		}
		j := newLogJSON(l)
		if l.Time > 0 {
			note, err := v.Note(origin)
			if err != nil {
				return err
			}
			j.Note = string(note)
		}
		if c.opts.json {
			e := json.NewEncoder(c.Stdout)
			e.SetEscapeHTML(false)
			return e.Encode(j)
		}
		return printLog(c.Stdout, l, j)
	}
	return cli.Hint(fmt.Errorf("%w %q", state.ErrUnknown, origin), "sumwitness logs -dir %s lists them", c.opts.dir)
}

func printLog(w io.Writer, l state.Entry, j logJSON) error {
	fmt.Fprintf(w, "origin   %s\nstate    %s\n", j.Origin, enabled(l))
	for _, k := range j.Keys {
		fmt.Fprintf(w, "vkey     %s\n", k)
	}
	for _, f := range []struct{ name, value string }{{"contact", j.Contact}, {"source", j.Source}} {
		if f.value != "" {
			fmt.Fprintf(w, "%-8s %s\n", f.name, f.value)
		}
	}
	if j.QPD > 0 {
		fmt.Fprintf(w, "rate     %d a day\n", j.QPD)
	}
	_, err := fmt.Fprintf(w, "cosigned %s\n\n%s", cosigned(l), j.Note)
	return err
}

// cosigned says what was cosigned last.
func cosigned(l state.Entry) string {
	if l.Time == 0 {
		return "never"
	}
	return fmt.Sprintf("size %d at %s", l.Tree.N, time.Unix(l.Time, 0).UTC().Format(time.RFC3339))
}

// vkeysOf returns the verifier keys of cosigners.
func vkeysOf(cosigners []*checkpoint.Cosigner) []string {
	var list []string
	for _, c := range cosigners {
		list = append(list, c.Key().String())
	}
	return list
}
