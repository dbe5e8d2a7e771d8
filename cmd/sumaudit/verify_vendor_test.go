// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	archive "archive/zip"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.org/sumlog/internal/testauthority"
)

// A zip of a mirror that is not the one logged is not what files are compared with,
// and is evidence against who serves it.
func TestVendorHostileZip(t *testing.T) {
	d := newDesk(t)
	buildUser(d)
	args := d.online("verify", "-vendor", "-modcache-dir", t.TempDir())
	observed := func() {
		t.Helper()
		d.want(4, args...)
		d.says("unchecked: ", "no zip: ")
		_, path, _ := strings.Cut(d.out, "evidence: ")
		path, _, _ = strings.Cut(path, "\n")
		d.want(0, "evidence", "-vkey", d.VKey(), path)
		d.says("OBSERVATION", "E11")
	}
	d.Break(testauthority.ZipOther)
	observed()
	d.says("a zip with SHA-256")
	d.Mend()

	zip := func(status int, change func([]byte) []byte) {
		d.Tamper(func(path string, _ url.Values, was int, body []byte) (int, []byte) {
			if strings.HasSuffix(path, ".zip") && was == http.StatusOK {
				return status, change(body)
			}
			return was, body
		})
	}
	zip(http.StatusOK, func([]byte) []byte { return []byte("<html>\n") })
	observed()
	d.says("no zip of a module")
	d.Mend()
	// A go command would not extract this one, but one like it may have been logged.
	zip(http.StatusOK, func([]byte) []byte {
		var b bytes.Buffer
		w := archive.NewWriter(&b)
		if _, err := w.Create("elsewhere/a.go"); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		return b.Bytes()
	})
	d.want(1, args...)
	d.says("no zip: ")
	d.Mend()
	// What is not there contradicts nothing.
	zip(http.StatusNotFound, func(body []byte) []byte { return body })
	d.want(1, args...)
	d.says("no zip: ")
}
