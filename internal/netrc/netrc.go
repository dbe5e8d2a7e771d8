// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package netrc finds the user and password that the go command would use for a
// URL: those of the .netrc file, https://go.dev/ref/mod#private-module-proxy-auth.
//
// The file is the one that NETRC names, else .netrc in the home directory (on
// Windows _netrc, if there is one). It is read once, when the first URL is asked
// for. It must be a regular file of at most a mebibyte, and is parsed strictly: see
// [Parse]. A file that breaks the rules is not used at all, and that is said once,
// without any of its text.
//
// GOAUTH counts, as "go env" has it: with off, or where netrc is not among its
// methods, the file is not used. Its other methods, which run commands, are not
// supported; that is said once.
//
// # Who gets them
//
// Credentials are for an https URL, and for http on the loopback, whose host is the
// one that the entry names, port included, compared by what they mean (package
// outbound). An entry may go on with a path: then it is for URLs below that. The
// default entry, which is for every host, is for none. Who asks for a URL that
// somebody else chose, such as a redirect's, must not ask here.
package netrc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"example.org/sumlog/internal/goenv"
	"example.org/sumlog/internal/outbound"
)

const maxSize = 1 << 20

// A File is a parsed file.
type File struct{ entries []entry }

type entry struct {
	host, path      string // of the machine; path is "" or begins with a slash
	login, password string
}

// Parse parses the text of a file: lines of words, each machine, login, password
// or account with its value behind it on the same line, as the go command wants it;
// macdef NAME, and all lines up to the next empty one; default, which ends what is
// used; and lines that begin with #. Anything else is an error, which names the line
// and quotes nothing: it may be a password. An entry without login or password is
// left out.
func Parse(data []byte) (*File, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("more than %d bytes", maxSize)
	}
	f := new(File)
	var e entry
	macro, n := false, 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimRight(string(line), "\r\n")
		words := strings.Fields(text)
		switch {
		case macro:
			macro = text != ""
			continue
		case strings.HasPrefix(strings.TrimSpace(text), "#"):
			continue
		}
		for len(words) > 0 {
			if words[0] == "default" {
				return f, nil
			}
			if len(words) == 1 {
				return nil, fmt.Errorf("line %d: a word without its value on the same line", n)
			}
			word, value := words[0], words[1]
			if words = words[2:]; word == "macdef" {
				macro = true
				break
			}
			if !e.set(word, value) {
				return nil, fmt.Errorf("line %d: neither machine, login, password, account, macdef nor default", n)
			}
			if e.host != "" && e.login != "" && e.password != "" {
				f.entries = append(f.entries, e)
				e = entry{}
			}
		}
	}
	return f, nil
}

// set takes in a word with its value. It reports whether there is such a word.
func (e *entry) set(word, value string) bool {
	switch word {
	case "machine":
		host, path, _ := strings.Cut(value, "/")
		*e = entry{host: host}
		if path = strings.TrimRight(path, "/"); path != "" {
			e.path = "/" + path
		}
	case "login":
		e.login = value
	case "password":
		e.password = value
	case "account":
	default:
		return false
	}
	return true
}

// For returns the credentials for u, nil if there are none. Of several entries the
// one with the longest path counts, and of those the first.
func (f *File) For(u *url.URL) *url.Userinfo {
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u)) {
		return nil
	}
	var best *entry
	for i := range f.entries {
		e := &f.entries[i]
		if e.covers(u) && (best == nil || len(e.path) > len(best.path)) {
			best = e
		}
	}
	if best == nil {
		return nil
	}
	return url.UserPassword(best.login, best.password)
}

func (e *entry) covers(u *url.URL) bool {
	rest, ok := strings.CutPrefix(u.Path, e.path)
	return ok && (rest == "" || rest[0] == '/' || e.path == "") &&
		outbound.Same(&url.URL{Scheme: u.Scheme, Host: e.host}, u)
}

// isLoopback reports whether what is sent to u stays on this machine.
func isLoopback(u *url.URL) bool {
	h, err := outbound.HostOf(u)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(h.Name())
	return h.Name() == "localhost" || err == nil && a.IsLoopback()
}

// A Finder finds credentials in the file of this process. A nil one finds none. It
// is safe for concurrent use.
type Finder struct {
	warn func(error)
	file func() *File
}

// New returns a finder that tells warn, once, what keeps it from using what the go
// command would.
func New(warn func(error)) *Finder {
	f := &Finder{warn: warn}
	f.file = sync.OnceValue(f.read)
	return f
}

// For returns the credentials for u, nil if there are none.
func (f *Finder) For(u *url.URL) *url.Userinfo {
	if f == nil {
		return nil
	}
	return f.file().For(u)
}

func (f *Finder) read() *File {
	methods := os.Getenv("GOAUTH")
	file, name, err := open()
	if methods == "" && len(file.entries) == 0 && err == nil {
		return file // then it does not matter what go env -w GOAUTH said
	}
	if methods == "" {
		// Without a go command, or with one that knows no GOAUTH, it is the default.
		env, _ := goenv.Get(context.Background(), "GOAUTH")
		methods = env["GOAUTH"]
	}
	uses, others := parseMethods(methods)
	if others != "" {
		f.warn(fmt.Errorf("GOAUTH names %q, which is not supported: only netrc and off are", others))
	}
	switch {
	case !uses:
		return new(File)
	case err != nil:
		f.warn(fmt.Errorf("no credentials are taken from %s: %w", name, err))
	}
	return file
}

// parseMethods returns whether a GOAUTH has the netrc file used, and the name of a
// method in it that is not supported. What follows the name may hold a secret.
func parseMethods(methods string) (netrc bool, other string) {
	if strings.TrimSpace(methods) == "" {
		return true, "" // the default
	}
	for m := range strings.SplitSeq(methods, ";") {
		f := strings.Fields(m)
		switch {
		case len(f) == 1 && f[0] == "netrc":
			netrc = true
		case len(f) == 0, len(f) == 1 && f[0] == "off":
		case other == "":
			other = f[0]
		}
	}
	return netrc, other
}

// open reads the file; one that does not exist is empty. The File is never nil.
func open() (*File, string, error) {
	none := new(File)
	name, err := location()
	if err != nil {
		return none, "", nil // without a home directory there is none
	}
	data, err := readRegular(name)
	if errors.Is(err, fs.ErrNotExist) {
		return none, name, nil
	}
	if err != nil {
		return none, name, err
	}
	file, err := Parse(data)
	if err != nil {
		return none, name, err
	}
	return file, name, nil
}

func readRegular(name string) ([]byte, error) {
	// Before the open, which would wait for the other end of a pipe.
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

func location() (string, error) {
	if name := os.Getenv("NETRC"); name != "" {
		return name, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "windows" {
		name := filepath.Join(home, "_netrc")
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
	}
	return filepath.Join(home, ".netrc"), nil
}
