// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"example.org/sumlog/internal/outbound"
)

// maxList bounds the entries of a list: each may be asked for each file.
const maxList = 32

// A List is a parsed list of upstreams.
type List struct {
	Entries []Entry // may be empty

	// Off and Direct say that the list ended with that word; what came after
	// it is ignored, as the go command does. Direct means version control,
	// which this package does not speak: the list is used without it.
	Off, Direct bool
}

// An Entry is one upstream of a list.
type Entry struct {
	URL *url.URL // scheme https, http or file

	// AnyError means that the next upstream is asked after any error of this
	// one (a pipe follows), not only after 404 and 410 (a comma).
	AnyError bool
}

// ParseList parses a list as the go command parses GOPROXY. It is stricter in
// refusing a user in an http URL at once, not at the first request, and in
// refusing queries and fragments, which would carry secrets into logs. Its
// errors never hold what stands before an @.
func ParseList(list string) (List, error) {
	var l List
	for rest := list; rest != ""; {
		var word string
		var anyError bool
		if i := strings.IndexAny(rest, ",|"); i >= 0 {
			word, anyError, rest = rest[:i], rest[i] == '|', rest[i+1:]
		} else {
			word, rest = rest, ""
		}
		word = strings.TrimSpace(word)
		switch word {
		default:
			u, err := parseURL(word)
			if err != nil {
				return List{}, err
			}
			if len(l.Entries) == maxList {
				return List{}, fmt.Errorf("more than %d upstreams", maxList)
			}
			l.Entries = append(l.Entries, Entry{u, anyError})
		case "":
			// As in "a,,b".
		case "off":
			l.Off = true
			return l, nil
		case "direct":
			l.Direct = true
			return l, nil
		}
	}
	if len(l.Entries) == 0 {
		return List{}, errors.New("list of upstreams has no entries")
	}
	return l, nil
}

// parseURL parses one upstream. A word that looks like a host or a path below
// one is taken as https; words without any of . : / are kept for keywords.
func parseURL(s string) (*url.URL, error) {
	if strings.ContainsAny(s, ".:/") && !strings.Contains(s, ":/") && !path.IsAbs(s) {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		// The error of Parse quotes s, and so do the errors it wraps.
		return nil, fmt.Errorf("upstream %q: malformed URL", hideUser(s))
	}
	name := outbound.Redact(u)
	switch u.Scheme {
	default:
		return nil, fmt.Errorf("upstream %q: scheme must be https, http or file", name)
	case "":
		return nil, fmt.Errorf("upstream %q: missing scheme", name)
	case "file":
		if *u != (url.URL{Scheme: "file", Path: u.Path, RawPath: u.RawPath}) || !path.IsAbs(u.Path) {
			return nil, fmt.Errorf("upstream %q: must be file:/// and an absolute path", name)
		}
		return u, nil
	case "https", "http":
	}
	if u.Host == "" || u.Opaque != "" {
		return nil, fmt.Errorf("upstream %q: no host", name)
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, fmt.Errorf("upstream %q: must not have a query or fragment", name)
	}
	if u.User != nil && u.Scheme == "http" {
		return nil, fmt.Errorf("upstream %q: user and password need https", name)
	}
	return u, nil
}

// hideUser is outbound.Redact for what is no URL.
func hideUser(s string) string {
	if i := strings.LastIndex(s, "@"); i >= 0 {
		return "…" + s[i:]
	}
	return s
}
