// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"golang.org/x/mod/module"
)

// maxPath bounds a module path in bytes. The longest in use have some 200; an
// upstream would answer a path of many thousand with an error that is not 404.
const maxPath = 1024

// A Router decides which chain may hear of a module. It is the only place
// where that is decided.
type Router struct {
	public, private *Chain
	globs           string
}

// NewRouter returns a router that sends modules matching globs, which are
// written as in GOPRIVATE, to private and all others to public. A nil chain is
// off. It refuses globs that could never match: a misspelt pattern must not
// make a private module public.
func NewRouter(public, private *Chain, globs string) (*Router, error) {
	for glob := range strings.SplitSeq(globs, ",") {
		if glob == "" {
			continue
		}
		if strings.ContainsAny(glob, " \t\r\n|") || strings.Contains(glob, "://") || strings.HasPrefix(glob, "/") {
			return nil, fmt.Errorf("private pattern %q can match no module path", glob)
		}
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("private pattern %q: %w", glob, err)
		}
		if err := checkLiterals(strings.TrimSuffix(glob, "/")); err != nil {
			return nil, fmt.Errorf("private pattern %q can match no module path: %w", glob, err)
		}
	}
	return &Router{public, private, globs}, nil
}

// checkLiterals checks the elements of a glob that match only themselves: they
// must be elements of module paths, and the first be a host in lower case.
// (corp.example/... is a pattern of packages, not one of GOPRIVATE.)
func checkLiterals(glob string) error {
	for i, elem := range strings.Split(glob, "/") {
		switch {
		case strings.ContainsAny(elem, `*?[\\`):
		case i == 0 && strings.Contains(elem, "."):
			if err := module.CheckPath(elem); err != nil {
				return err
			}
		case i == 0 && elem == "none":
			// What GOPRIVATE is set to when nothing is private.
		default:
			if err := module.CheckImportPath("x/" + elem); err != nil {
				return fmt.Errorf("malformed element %q", elem)
			}
		}
	}
	return nil
}

// IsPrivate reports whether path is private: it matches a pattern as the go command
// means GOPRIVATE, or a pattern claims all that is below it. With corp.example/*,
// corp.example is private too: go commands that look for corp.example/x/y ask for
// all paths above it, and the name alone is nobody's business. With corp.example/x/*,
// corp.example/x is private, and corp.example is not, which may well be a public
// module. Nothing about a private path may be sent to a public upstream or database.
func (r *Router) IsPrivate(path string) bool {
	private, _ := r.judge(path)
	return private
}

// For returns the chain that the module path is fetched from, and whether it
// is the private one. The chain is never nil; with no upstream configured its
// errors are [ErrOff], and what users should know of the path is the [Note] of
// its errors. An error wraps [ErrNotModule]: there is no such module, and nobody
// may be asked.
//
// Never asked for are addresses and names of this machine: a first element
// that is an IP address in any spelling a resolver takes (its last label is a
// number, decimal or 0x), localhost, and what ends in .localhost. Names that
// end in .local or .internal exist only inside a network, so a public upstream
// would learn a private name and could not answer: they are asked for only if
// they are private.
func (r *Router) For(modulePath string) (c *Chain, private bool, err error) {
	if len(modulePath) > maxPath {
		return nil, false, fmt.Errorf("%w: path of %d bytes", ErrNotModule, len(modulePath))
	}
	if err := module.CheckPath(modulePath); err != nil {
		return nil, false, fmt.Errorf("%w: %v", ErrNotModule, err)
	}
	host, _, _ := strings.Cut(modulePath, "/")
	if isLocalHost(host) {
		return nil, false, fmt.Errorf("%w: %q is no public host", ErrNotModule, host)
	}
	private, note := r.judge(modulePath)
	if private {
		return orOff(r.private).noted(note), true, nil
	}
	if strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal") {
		return nil, false, fmt.Errorf("%q: %w", host, ErrInside)
	}
	return orOff(r.public).noted(note), false, nil
}

func orOff(c *Chain) *Chain {
	if c == nil {
		return &Chain{}
	}
	return c
}

// isLocalHost reports whether host, the first element of a valid module path
// (so lower case, without port), is an address or a name of this machine.
func isLocalHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	last := host[strings.LastIndex(host, ".")+1:]
	if last == "localhost" {
		return true
	}
	// inet_aton reads 127.1, 1.2.3.4.5 is no name either, and 0x7f is a number:
	// https://url.spec.whatwg.org/#ends-in-a-number-checker.
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
