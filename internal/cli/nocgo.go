// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build !cgo

package cli

import (
	"context"
	"errors"
)

// WithoutC stands in for a command that needs SQLite, in a binary that was built
// without cgo: the go command builds so without a word where it finds no C
// compiler, and the word is here. It takes whatever flags there are.
func WithoutC[C Caller](name string, settings []Setting[C]) *Command[C] {
	err := Hint(errors.New("this binary cannot "+name+": it was built without a C compiler and so has no SQLite"),
		"install one (on Debian: gcc and libc6-dev) and build again with CGO_ENABLED=1")
	var flags []string
	for _, s := range settings {
		flags = append(flags, s.Name)
	}
	return &Command[C]{
		Name:  name,
		Short: "not in this binary: it was built without a C compiler",
		Long:  "This binary was built without a C compiler and cannot do this.",
		Flags: flags,
		NArgs: func(int) bool { return true },
		Run:   func(context.Context, C) error { return err },
	}
}
