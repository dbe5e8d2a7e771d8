// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package audit

import "slices"

// All stands for all checks in Config.Require that an audit can make.
const All = "all"

// ids are those of the checks that Run makes.
var ids = []string{
	"A1", "A2", "A3", "A4", "A5", "A6", "A7",
	"B1", "B2", "B3", "B4", "B5",
	"C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8",
	"D1", "D2", "D3", "D4", "D5", "D6", "D7", "D9",
	"V1", "V2", "V3",
	"W1", "W2", "W3",
}

// never are those that are only made by way of others, as their reason says. All does
// not stand for them.
var never = []string{"C5", "C7", "C8"}

// IsCheck reports whether Run makes a check of that id.
func IsCheck(id string) bool { return slices.Contains(ids, id) }
