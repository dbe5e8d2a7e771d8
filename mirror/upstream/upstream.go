// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package upstream is where module bytes and public records come from.
//
// # Lists
//
// A list of upstreams is written as the go command's GOPROXY: URLs of module
// proxies, separated by commas or pipes. After a comma the next upstream is
// asked only if this one said 404 or 410; after a pipe, whatever went wrong.
// See [ParseList] and https://go.dev/ref/mod#environment-variables. What the
// last of them said is not always what is reported: the error of an upstream
// that broke is preferred to the 404 of another, so that absence is claimed
// only when every upstream that could be asked claimed it.
//
// A [Chain] is such a list made ready. An answer names its [Source], so that
// the further files of a version can be had from the same copy.
//
// A URL is https://, http:// or file://. The last is a directory laid out like
// GOMODCACHE/cache/download; it is read through an [os.Root].
//
// # What is believed
//
// Nothing. Every body has a size limit, which applies after decompression;
// every exchange has a limit on silence, and a least rate; only status 200 is an
// answer; a body shorter than announced is an error; a redirect from https to
// http is refused. An upstream can still say anything it likes within those: what
// it said must be checked against a record before it is used.
//
// A redirect leads to a host that the operator named, or to a public address,
// never into the network around this server; and another host than the first
// gets neither credentials nor a Referer. What such a host says in words is not
// passed on, and nothing that holds a password that was sent. See package outbound,
// and for where credentials come from package netrc.
//
// An upstream that is busy or broken is asked up to three times, unless it
// says when to come back and that is not soon. Whatever it did wrong comes back
// as an *[Error]; every other error is this machine's. Absence, and only
// absence, is [fs.ErrNotExist].
//
// # Private modules
//
// A [Router] is the one place that decides whether a module is private and
// thus which chain may hear of it: see [Router.IsPrivate]. A private path is never sent to a public
// upstream, nor to a public database, and not by way of a redirect either: the
// client of private modules shuns their hosts, however they are written.
//
// # The public checksum database
//
// A [Database] proves the record of a public module, as the go command does:
// the record is in a tree whose head the database signed, and every head ever
// seen is on one timeline. See https://go.dev/design/25530-sumdb and
// [golang.org/x/mod/sumdb]. Trusted is the database's key, and nothing between
// it and here.
//
// What is verified, and by the same code for trees and signatures (packages
// tlog and note), is what golang.org/x/mod/sumdb.Client verifies. That client
// itself is not used, for it has no context, turns the errors of its requests
// into text, keeps all it has seen in memory, and takes tiles of the old tree
// for tiles of the new one where their coordinates agree: then a fork is an
// error, and never proven. Here what does not fit is read once more without
// the cache, and a new tree is judged by its own tiles.
//
// A head that is not on the timeline is proof that the database shows different
// histories to different clients. It is kept as evidence, and the database is
// not used again, by this process or a later one, until an operator has looked
// and removed the file UNTRUSTED: see [ErrSecurity].
//
// Below the directory it is given, a database keeps
//
//	NAME/latest          the newest signed head seen, durable before it is relied on
//	NAME/tile/8/L/N      full tiles, authenticated before they were written; deletable
//	NAME/UNTRUSTED       only after a security failure: what was found
//
// A lost or older latest loses memory of what the database once claimed, so it
// belongs in a backup. Tiles are not synced: one that a crash or a bad disk
// damaged does not hash to its parent, is noticed when it is next read, and is
// fetched again.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"golang.org/x/mod/zip"
)

// Limits on what an upstream may send, in bytes after decompression.
const (
	MaxText = 16 << 20 // list, info and latest
	MaxMod  = zip.MaxGoMod
	MaxZip  = zip.MaxZipFile
)

// ErrOff is the error of a chain with no upstream: the list is "off", or ended
// there. Nothing can be had from it, so it is an [fs.ErrNotExist].
var ErrOff = fmt.Errorf("no upstream: %w", fs.ErrNotExist)

// ErrNotModule is wrapped by the error of a path that can be no module's, or
// whose host is an address or a name of this machine. Such a path is never
// sent anywhere. It is an [fs.ErrNotExist].
var ErrNotModule = fmt.Errorf("not a module: %w", fs.ErrNotExist)

// ErrInside is wrapped by the error of a path whose host exists only inside a network
// and that matches no private pattern. It is an [ErrNotModule].
var ErrInside = fmt.Errorf("%w: no public host, and no private pattern", ErrNotModule)

// ErrPrivate is wrapped by the error of a request to send a private path to
// the public database.
var ErrPrivate = errors.New("private modules are not looked up in a public database")

// ErrSecurity is wrapped by every error of a [Database] that was found to show
// two histories.
var ErrSecurity = errors.New("the public checksum database is not trusted any more: it signed two different histories")

// ErrTooLarge is wrapped by the *[Error] for a body beyond its limit.
var ErrTooLarge = errors.New("answer is too large")

// An Error says what an upstream did wrong. An error that is no *Error is not
// an upstream's doing.
type Error struct {
	// Database is the name of the public checksum database, if that was asked.
	Database string

	// URL is what was asked for, without user and password.
	URL string

	// Status is the HTTP status of the answer, if it was not 200. It is 0 if
	// there was no answer, or if the answer was 200 and then went wrong.
	// A file:// upstream has 404 and 403 for missing and unreadable files.
	Status int

	// RetryAfter is how long the upstream asked to be left alone, at most a
	// day; 0 if it did not say.
	RetryAfter time.Duration

	// Text is what the upstream said in text/plain: a few printable lines,
	// fit to be shown to a user. It is empty if there was none, or if it was
	// said by a host that the upstream sent us to and the operator did not
	// name. Of a client of a [Relay] that got no place it is why, with status 503.
	Text string

	// Err is the cause, if there was no answer or not a whole one.
	Err error
}

func (e *Error) Error() string {
	s := "reading " + e.URL
	if e.Status != 0 {
		s += fmt.Sprintf(": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes 404 and 410 the same as [fs.ErrNotExist], as the go command does.
func (e *Error) Is(target error) bool {
	return target == fs.ErrNotExist && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// Timeout reports whether the upstream did not answer in time.
func (e *Error) Timeout() bool {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return true
	}
	ne, ok := errors.AsType[net.Error](e.Err)
	return ok && ne.Timeout()
}
