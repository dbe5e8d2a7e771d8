// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// places are the words of help that stand for a file or a directory of this
// machine.
var places = []string{"DIR", "FILE", "DEST"}

// looksLikeURL matches what no one means for a path.
var looksLikeURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

// IsPlace reports whether the setting of this name is a path on this machine.
func (p *Program[C]) IsPlace(name string) bool {
	s := p.setting(name)
	return s != nil && slices.Contains(places, s.Value)
}

// checkPlaces refuses a URL where a file or a directory belongs: a key, a guard
// or a backup would be made below ./s3:, and be taken for safe elsewhere.
func (p *Program[C]) checkPlaces(cmd *Command[C], call *Call, value func(name string) string) error {
	for _, s := range p.Settings {
		if !p.IsPlace(s.Name) {
			continue
		}
		if err := checkPlace(fmt.Sprintf("%s (from %s)", s.Name, call.From[s.Name]), value(s.Name)); err != nil {
			return err
		}
	}
	if !slices.Contains(places, strings.Trim(cmd.Args, "[].")) {
		return nil
	}
	for _, arg := range call.Args {
		if err := checkPlace(strings.Trim(cmd.Args, "[]."), arg); err != nil {
			return err
		}
	}
	return nil
}

func checkPlace(what, value string) error {
	if !looksLikeURL.MatchString(value) {
		return nil
	}
	err := Usagef("%s: %s looks like a URL, and it must be a path on this machine", what, value)
	if rest, ok := strings.CutPrefix(value, "file:"); ok {
		return err.Hint("write /%s", strings.TrimLeft(rest, "/"))
	}
	return err.Hint("give the path where it is mounted; ./%s is a file or directory of that name", value)
}
