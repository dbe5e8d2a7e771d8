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

	"example.org/sumlog/log"
)

var cmdEnv = &command{
	name:  "env",
	short: "print the go command's settings for this authority",
	long: `
Env prints the settings with which a go command uses this authority for all
modules, public and private, as lines for a shell. It works beside a running
server.

	eval "$(sumlog env -dir DIR | sed 's/^/export /')"
`,
	flags: []string{"dir", "url", "json"},
	nargs: exactly(0),
	run: func(_ context.Context, c *call) error {
		vars, err := clientEnv(c.opts.dir, c.opts.url)
		if err != nil {
			return err
		}
		return printEnv(c.stdout, vars, c.opts.json)
	},
}

// clientEnv returns what a client needs. GONOPROXY and GONOSUMDB are set too:
// left alone they follow GOPRIVATE, which would take private modules past the
// log.
func clientEnv(dir, at string) ([]keyValue, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(at, "', |\n") {
		return nil, usagef("-url %q is no http or https URL", at)
	}
	_, vkey, err := log.ReadVKey(dir)
	if err != nil {
		return nil, hintOpen(err, dir)
	}
	return []keyValue{
		{"GOPROXY", strings.TrimSuffix(at, "/")},
		{"GOSUMDB", vkey},
		{"GONOPROXY", "none"},
		{"GONOSUMDB", "none"},
	}, nil
}

func printEnv(w io.Writer, vars []keyValue, asJSON bool) error {
	if asJSON {
		m := map[string]string{}
		for _, v := range vars {
			m[v.name] = v.value
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "\t")
		e.SetEscapeHTML(false)
		return e.Encode(m)
	}
	for _, v := range vars {
		// Neither names, base64 nor the URL (see clientEnv) hold a quote.
		if _, err := fmt.Fprintf(w, "%s='%s'\n", v.name, v.value); err != nil {
			return err
		}
	}
	return nil
}
