// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package mirror

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"example.org/sumlog/index"
	"example.org/sumlog/internal/descriptors"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/admit"
	"example.org/sumlog/mirror/store"
	"example.org/sumlog/mirror/upstream"
)

// A publicError is an error whose status and text are the answer.
type publicError struct {
	status int
	text   string
	retry  time.Duration // for Retry-After; 0: none
}

func (e *publicError) Error() string { return e.text }

// Is makes an answer of 404 what it means.
func (e *publicError) Is(target error) bool {
	return target == fs.ErrNotExist && e.status == http.StatusNotFound
}

var errMethod = &publicError{status: http.StatusMethodNotAllowed, text: "only GET and HEAD are served here"}

func notFound(format string, args ...any) error {
	return &publicError{status: http.StatusNotFound, text: "not found: " + fmt.Sprintf(format, args...)}
}

const (
	soon  = 5 * time.Second  // Retry-After of what is on its way
	later = 30 * time.Second // Retry-After of what somebody has to mend

	// The go command shows this much of an error.
	maxLines = 8
	maxText  = 600
)

// ErrorWriter returns the function that answers a request that an error stands
// in the way of, for the mirror, the lookups and the relay alike:
//
//	absent (404, 410)                       404
//	whole, and can never be a module        404, with the reason
//	unknown to the public database alone    503, Retry-After
//	private paths, upstream's 401 and 403   403
//	upstream's 429                          429, Retry-After passed on
//	upstream's 5xx with Retry-After         503, Retry-After passed on
//	other statuses, garbage, wrong hashes   502
//	upstream hangs                          504
//	the work goes on; busy; shutting down   503, Retry-After
//	not in a server that is read-only       503, Retry-After
//	out of descriptors, memory, disk        503, Retry-After
//	anything else                           500
//
// The answer is a short paragraph of plain text, as the go command shows it to
// its user, with the [upstream.Note] of the path if there is one. It never names files or hosts of this side; an answer of 500 has
// an id under which the error is in l.
func ErrorWriter(l *slog.Logger) func(w http.ResponseWriter, r *http.Request, err error) {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	return func(w http.ResponseWriter, r *http.Request, err error) {
		p := public(err)
		if p == nil {
			id := rand.Text()[:12]
			l.Error("request failed", "id", id, "method", r.Method, "path", r.URL.Path, "err", err)
			p = &publicError{status: http.StatusInternalServerError, text: "internal error " + id}
		}
		h := w.Header()
		h.Del("ETag")
		h.Del("Content-Length")
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", never)
		h.Set("X-Content-Type-Options", "nosniff")
		if p.retry > 0 {
			h.Set("Retry-After", strconv.FormatInt(int64((p.retry+time.Second-1)/time.Second), 10))
		}
		if p.status == http.StatusMethodNotAllowed {
			h.Set("Allow", "GET, HEAD")
		}
		w.WriteHeader(p.status)
		io.WriteString(w, answerText(p.text, upstream.Note(err)))
	}
}

// ours is an error of a part of this server. A file of its own that is missing says
// nothing about a module; that it is short of something does say when to come back.
func ours(part string, err error) error {
	if descriptors.Short(err) {
		return fmt.Errorf("%s: %w", part, err)
	}
	return fmt.Errorf("%s: %v", part, err)
}

// public returns what err means to a client, or nil if that is nobody's
// business.
func public(err error) *publicError {
	var p *publicError
	var mismatch *admit.MismatchError
	var conflict *log.ConflictError
	var refused *log.RefusedError
	var garbage *admit.GarbageError
	var invalid *admit.InvalidError
	var unvouched *admit.UnvouchedError
	var up *upstream.Error
	switch {
	case errors.As(err, &p):
		return p
	case descriptors.Short(err):
		// Before all that it may have kept from being found out.
		return &publicError{http.StatusServiceUnavailable, "the server is short of files or memory, try again in a moment", soon}
	case errors.Is(err, index.ErrDamaged):
		return &publicError{http.StatusServiceUnavailable, "the server's index is damaged and is being made again from the log, try again in some minutes", later}
	case errors.As(err, &mismatch):
		return &publicError{status: http.StatusBadGateway, text: mismatch.Error()}
	case errors.As(err, &conflict):
		return &publicError{status: http.StatusBadGateway,
			text: fmt.Sprintf("%s: upstream has other hashes than the log; the first stand", conflict.Have.Module)}
	case errors.As(err, &invalid):
		return &publicError{status: http.StatusNotFound, text: absent(invalid.Error())}
	case errors.As(err, &unvouched):
		return &publicError{http.StatusServiceUnavailable, unvouched.Error(), later}
	case errors.As(err, &garbage):
		return &publicError{status: http.StatusBadGateway, text: garbage.Error()}
	case errors.Is(err, upstream.ErrPrivate):
		return &publicError{status: http.StatusForbidden, text: upstream.ErrPrivate.Error()}
	case errors.Is(err, upstream.ErrSecurity):
		return &publicError{status: http.StatusBadGateway, text: upstream.ErrSecurity.Error()}
	case errors.Is(err, admit.ErrReadOnly):
		return &publicError{http.StatusServiceUnavailable, admit.ErrReadOnly.Error(), later}
	case errors.Is(err, admit.ErrTimeout), errors.Is(err, admit.ErrBusy):
		return &publicError{http.StatusServiceUnavailable, err.Error(), soon}
	case errors.As(err, &refused):
		return &publicError{http.StatusServiceUnavailable,
			"a version that is not logged yet cannot be published at the moment: " + refused.Reason + "; what is logged is served; try again later", soon}
	case errors.Is(err, log.ErrBusy):
		return &publicError{http.StatusServiceUnavailable, log.ErrBusy.Error(), soon}
	case errors.Is(err, log.ErrClosed):
		return &publicError{http.StatusServiceUnavailable, "the server is shutting down", soon}
	case errors.As(err, &up):
		return upstreamError(up)
	case errors.Is(err, upstream.ErrOff):
		return &publicError{status: http.StatusNotFound, text: absent("this server has no upstream for it")}
	case errors.Is(err, upstream.ErrInside):
		return &publicError{status: http.StatusNotFound, text: absent("a path whose host ends in .local or .internal is no public module's; if it is private, this server must be told so with -private")}
	case errors.Is(err, upstream.ErrNotModule), errors.Is(err, store.ErrName):
		return &publicError{status: http.StatusNotFound, text: absent("there can be no such module")}
	case errors.Is(err, fs.ErrNotExist):
		return &publicError{status: http.StatusNotFound, text: absent("")}
	case errors.Is(err, context.DeadlineExceeded):
		return &publicError{http.StatusGatewayTimeout, "upstream did not answer in time", 0}
	case errors.Is(err, context.Canceled):
		return &publicError{http.StatusServiceUnavailable, "the request was given up", soon}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &publicError{http.StatusServiceUnavailable, "the server's disk is full", later}
	}
	return nil
}

// upstreamError is the part of the table about what an upstream said.
func upstreamError(e *upstream.Error) *publicError {
	who := "upstream"
	if e.Database != "" {
		who = "the public checksum database " + e.Database
	}
	text := func(s string) string {
		if e.Text != "" {
			s += ": " + e.Text
		}
		return s
	}
	switch {
	case errors.Is(e, fs.ErrNotExist):
		return &publicError{status: http.StatusNotFound, text: absent(e.Text)}
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return &publicError{status: http.StatusForbidden, text: text(fmt.Sprintf("%s refuses this server (%d)", who, e.Status))}
	case e.Status == http.StatusTooManyRequests:
		return &publicError{http.StatusTooManyRequests, text(who + " gets too many requests"), max(e.RetryAfter, time.Second)}
	case e.Status != 0 && e.RetryAfter > 0:
		return &publicError{http.StatusServiceUnavailable, text(fmt.Sprintf("%s is not available (%d)", who, e.Status)), e.RetryAfter}
	case e.Status != 0:
		return &publicError{status: http.StatusBadGateway, text: text(fmt.Sprintf("%s answered %d", who, e.Status))}
	case e.Timeout():
		return &publicError{status: http.StatusGatewayTimeout, text: who + " did not answer in time"}
	case errors.Is(e, upstream.ErrRedirect):
		return &publicError{status: http.StatusBadGateway, text: who + " redirects to where this server does not go"}
	case errors.Is(e, upstream.ErrTooLarge):
		return &publicError{status: http.StatusBadGateway, text: who + "'s " + upstream.ErrTooLarge.Error()}
	}
	return &publicError{status: http.StatusBadGateway, text: who + " cannot be reached, or its answer was cut short"}
}

// absent makes the text of a 404.
func absent(text string) string {
	switch {
	case text == "":
		return "not found"
	case strings.HasPrefix(text, "not found"):
		return text
	}
	return "not found: " + text
}

// answerText is the body of an answer: what went wrong, and what is to be said of
// the path that was asked for, which an upstream that talks much must not push out.
func answerText(text, note string) string {
	note = paragraph(note, 1, maxText/2)
	if note == "" {
		return paragraph(text, maxLines, maxText) + "\n"
	}
	return paragraph(text, maxLines-1, maxText-len(note)) + "\n" + note + "\n"
}

// paragraph cuts text down to what the go command shows: graphic characters,
// a few lines, none of them blank.
func paragraph(text string, most, size int) string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(text, "\uFFFD")) {
		line = strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return ' '
			}
			if !unicode.IsGraphic(r) {
				return -1
			}
			return r
		}, line)
		if line = strings.TrimRight(line, " "); line != "" && len(lines) < most {
			lines = append(lines, line)
		}
	}
	text = strings.Join(lines, "\n")
	if len(text) > size {
		n := size
		for !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n]
	}
	return text
}
