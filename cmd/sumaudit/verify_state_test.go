// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"example.org/sumlog/witness/audit/state"
)

// A notice is a stderr that calls a function when a text is written.
type notice struct {
	bytes.Buffer
	text string
	call func()
}

func (n *notice) Write(p []byte) (int, error) {
	if n.call != nil && strings.Contains(string(p), n.text) {
		n.call()
		n.call = nil
	}
	return n.Buffer.Write(p)
}

// A state that an audit has open at the moment, as "log -watch" has for each of its
// rounds.
func TestVerifyStateInUse(t *testing.T) {
	d := newDesk(t)
	d.write("go.sum", d.sum(0))
	args := d.online("verify", "-state", "state", "-private", "none.invalid")
	use := func() *state.State {
		t.Helper()
		st, err := state.Open("state", d.Key())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := use()
	waiting := &notice{text: "waiting for ", call: func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}}
	if code := program.Run(t.Context(), args, &waiting.Buffer, waiting); code != 0 || waiting.call != nil {
		t.Errorf("exit code %d: %s", code, waiting)
	}

	st = use()
	defer st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	waiting = &notice{text: "waiting for ", call: cancel}
	if code := program.Run(ctx, args, &waiting.Buffer, waiting); code != 1 || !strings.Contains(waiting.String(), "-state OTHER") {
		t.Errorf("exit code %d: %s", code, waiting)
	}
}

// What an auditor cannot tell is said where people look for it.
func TestVerifyHelp(t *testing.T) {
	d := newDesk(t)
	d.want(0, "help", "verify")
	d.out = strings.Join(strings.Fields(d.out), " ")
	d.says("A report is not signed", "vendor/modules.txt is not compared with go.mod")
}
