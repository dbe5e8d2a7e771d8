// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/log"
)

var cmdEnv = &command{
	Name:  "env",
	Short: "print the go command's settings for this authority",
	Long: `
Env prints the settings with which a go command uses this authority for all
modules, public and private, as lines for a shell. It works beside a running
server.

	eval "$(sumlog env -dir DIR | sed 's/^/export /')"
`,
	Flags: []string{"dir", "url", "json"},
	NArgs: cli.Exactly(0),
	Run: func(_ context.Context, c *call) error {
		vars, err := clientEnv(c.opts.dir, c.opts.url)
		if err != nil {
			return err
		}
		return printEnv(c.Stdout, vars, c.opts.json)
	},
}

// clientEnv returns what a client needs. GONOPROXY and GONOSUMDB are set too:
// left alone they follow GOPRIVATE, which would take private modules past the
// log.
func clientEnv(dir, at string) ([]cli.KeyValue, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(at, "', |\n") {
		return nil, cli.Usagef("-url %q is no http or https URL", at)
	}
	_, vkey, err := log.ReadVKey(dir)
	if err != nil {
		return nil, hintOpen(err, dir)
	}
	return []cli.KeyValue{
		{Name: "GOPROXY", Value: strings.TrimSuffix(at, "/")},
		{Name: "GOSUMDB", Value: vkey},
		{Name: "GONOPROXY", Value: "none"},
		{Name: "GONOSUMDB", Value: "none"},
	}, nil
}

func printEnv(w io.Writer, vars []cli.KeyValue, asJSON bool) error {
	if asJSON {
		m := map[string]string{}
		for _, v := range vars {
			m[v.Name] = v.Value
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "\t")
		e.SetEscapeHTML(false)
		return e.Encode(m)
	}
	for _, v := range vars {
		// Neither names, base64 nor the URL (see clientEnv) hold a quote.
		if _, err := fmt.Fprintf(w, "%s='%s'\n", v.Name, v.Value); err != nil {
			return err
		}
	}
	return nil
}
