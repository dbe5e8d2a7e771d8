// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Limits of a submission. What an auditor sends is a note with two signatures and
// a proof; one with the largest kind of both is not half as large.
const (
	maxSubmission     = 32 << 10
	maxSubmissionTime = 10 * time.Second
)

// Statuses of refusals, as https://c2sp.org/tlog-witness has them.
const (
	statusMalformed = http.StatusBadRequest
	statusUnsigned  = http.StatusForbidden
	statusUnknown   = http.StatusNotFound
	statusConflict  = http.StatusConflict
	statusUnproven  = http.StatusUnprocessableEntity
)

// serveSubmission serves POST /audited/add-checkpoint.
func (l *Log) serveSubmission(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		httpError(w, http.StatusMethodNotAllowed, "only POST is served here")
		return
	}
	// What is not read of a body would be read after the answer, for as long as
	// the client likes.
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(l.patience)) // fails where there is no connection
	body, err := l.submission(w, r)
	if err == nil {
		// Left where it is, its end would cancel the request.
		control.SetReadDeadline(time.Time{})
		err = l.audited.add(body)
	}
	if err != nil {
		l.refuseSubmission(w, err)
		return
	}
	writeBytes(w, r, typeText, "no-store", nil)
}

// submission reads the body.
func (l *Log) submission(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if l.audited == nil {
		return nil, refuseAudited(statusUnknown, "this log knows no auditors")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSubmission))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuseAudited(http.StatusRequestEntityTooLarge, "more than %d bytes", maxSubmission)
	}
	if err != nil {
		return nil, refuseAudited(statusMalformed, "the body could not be read")
	}
	return body, nil
}

func (l *Log) refuseSubmission(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*auditedError](err)
	switch {
	case !ok:
		l.logger.Error("what an auditor cosigned could not be kept", "err", err)
		w.Header().Set("Retry-After", "60")
		httpError(w, http.StatusServiceUnavailable, "it could not be kept at the moment")
	case e.status == statusConflict:
		text := strconv.FormatInt(e.size, 10) + "\n"
		h := w.Header()
		h.Set("Content-Type", "text/x.tlog.size")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(e.status)
		io.WriteString(w, text)
	default:
		httpError(w, e.status, e.text)
	}
}

// serveAudited serves /checkpoint/audited.
func (l *Log) serveAudited(w http.ResponseWriter, r *http.Request) {
	var note []byte
	if l.audited != nil {
		note = l.audited.newest()
	}
	if note == nil {
		httpError(w, http.StatusNotFound, "no auditor has cosigned a checkpoint yet")
		return
	}
	writeBytes(w, r, typeText, cacheHead, note)
}
