// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
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
server, which it does not ask: the URL is that of -url, else made of -listen, both
as flags, variables or in DIR/sumlog.toml.

	eval "$(sumlog env -dir DIR | sed 's/^/export /')"
`,
	Flags: []string{"dir", "url", "listen", "config", "json"},
	NArgs: cli.Exactly(0),
	Run: func(_ context.Context, c *call) error {
		vars, err := c.clientEnv()
		if err != nil {
			return err
		}
		return printEnv(c.Stdout, vars, c.opts.json)
	},
}

// clientEnv returns what a client needs. GONOPROXY and GONOSUMDB are set too:
// left alone they follow GOPRIVATE, which would take private modules past the
// log.
func (c *call) clientEnv() ([]cli.KeyValue, error) {
	if err := c.checkURL(); err != nil {
		return nil, err
	}
	_, vkey, err := log.ReadVKey(c.opts.dir)
	if err != nil {
		return nil, hintOpen(err, c.opts.dir)
	}
	addr, err := net.ResolveTCPAddr("tcp", c.opts.listen)
	if err != nil {
		return nil, cli.Usagef("-listen %s: %v", c.opts.listen, err)
	}
	if c.opts.url == "" && addr.Port == 0 {
		return nil, cli.Usagef("-listen %s: the port is known to the server alone", c.opts.listen).Hint("pass -url URL")
	}
	return []cli.KeyValue{
		{Name: "GOPROXY", Value: c.clientURL(addr)},
		{Name: "GOSUMDB", Value: vkey},
		{Name: "GONOPROXY", Value: "none"},
		{Name: "GONOSUMDB", Value: "none"},
	}, nil
}

// checkURL reports what no client could use as -url, or a shell would take for
// something else.
func (c *call) checkURL() error {
	at := c.opts.url
	if at == "" {
		return nil
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(at, "', |\n") {
		return cli.Usagef("-url %q is no http or https URL", at)
	}
	return nil
}

// clientURL is the URL by which clients reach a server that listens at addr, as far
// as that can be known here: that of every address is some other one.
func (c *call) clientURL(addr net.Addr) string {
	if c.opts.url != "" {
		return strings.TrimSuffix(c.opts.url, "/")
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || len(tcp.IP) > 0 && !tcp.IP.IsUnspecified() {
		return "http://" + addr.String()
	}
	host := "127.0.0.1"
	for _, a := range ownAddresses() {
		if a.Is4() && a.IsGlobalUnicast() {
			host = a.String()
			break
		}
	}
	return fmt.Sprintf("http://%s:%d", host, tcp.Port)
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
