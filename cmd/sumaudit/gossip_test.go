// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/module"
)

// answer returns what the authority of a script answers.
func answer(ts *testscript.TestScript, path string) []byte {
	w := httptest.NewRecorder()
	scriptOf(ts).authority.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != 200 {
		ts.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func keep(ts *testscript.TestScript, file string, data []byte) {
	file = ts.MkAbs(file)
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	ts.Check(os.WriteFile(file, data, 0o644))
}

// scriptKeep is the command “keep PATH FILE”: what the authority answers to PATH, as
// a go command would keep it.
func scriptKeep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keep PATH FILE")
	}
	keep(ts, args[1], answer(ts, "/"+args[0]))
}

// scriptKeepLookup is the command “keeplookup I FILE”: the answer to the lookup of
// entry I; as keepother, with the record of another one.
func scriptKeepLookup(other bool) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: keeplookup I FILE")
		}
		i, err := strconv.ParseInt(args[0], 10, 64)
		ts.Check(err)
		a := scriptOf(ts).authority
		m := a.Module(i)
		path, err := module.EscapePath(m.Path)
		ts.Check(err)
		data := answer(ts, "/lookup/"+path+"@"+m.V)
		if other {
			data = bytes.Replace(data, a.Entry(i), a.Entry(i+1), 1)
		}
		keep(ts, args[1], data)
	}
}
