// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// knownKeys are the vkeys of the databases that a spec can name without one.
// Source: cmd/go/internal/modfetch/key.go of Go 1.26.
var knownKeys = map[string]string{
	"sum.golang.org": "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
}

// A Spec says which checksum database to use.
type Spec struct {
	Name string   // of the database, host[/path]
	VKey string   // its verifier key
	URL  *url.URL // where it is; nil: wherever upstreams or its name say
	Off  bool     // the spec was "off": no database, and nothing else is set
}

// Known reports whether the database is one that a spec can name without its key.
func (s Spec) Known() bool { return s.VKey != "" && knownKeys[s.Name] == s.VKey }

// ParseSpec parses a spec written as the go command's GOSUMDB: "off", or a
// known name or a vkey, and after white space, if wanted, a URL.
func ParseSpec(s string) (Spec, error) {
	f := strings.Fields(s)
	switch len(f) {
	default:
		return Spec{}, fmt.Errorf("checksum database: %d fields, want a name or key, and a URL if wanted", len(f))
	case 0:
		return Spec{}, errors.New("checksum database: empty; off means none")
	case 1:
		switch f[0] {
		case "off":
			return Spec{Off: true}, nil
		case "sum.golang.google.cn": // an alias that the go command knows
			f = []string{"sum.golang.org", "https://sum.golang.google.cn"}
		}
	case 2:
	}
	vkey := f[0]
	if k := knownKeys[vkey]; k != "" {
		vkey = k
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Spec{}, fmt.Errorf("checksum database %q: neither a known name nor a verifier key", f[0])
	}
	spec := Spec{Name: v.Name(), VKey: vkey}
	if err := checkName(spec.Name); err != nil {
		return Spec{}, err
	}
	if len(f) == 2 {
		if spec.URL, err = parseURL(f[1]); err != nil {
			return Spec{}, fmt.Errorf("checksum database: %w", err)
		}
	}
	return spec, nil
}

// checkName refuses names that the go command refuses, and those that are no
// clean path: a name becomes a directory.
func checkName(name string) error {
	u, err := url.Parse("https://" + name)
	if err != nil || u.Host == "" || *u != (url.URL{Scheme: "https", Host: u.Host, Path: u.Path}) || !fs.ValidPath(name) {
		return fmt.Errorf("checksum database: name %q is not host[/path]", name)
	}
	return nil
}
