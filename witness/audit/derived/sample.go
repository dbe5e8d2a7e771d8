// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

// A span is the entries from (inclusive) to (exclusive).
type span struct{ from, to int64 }

func (s span) len() int64 { return s.to - s.from }

// window returns the sample of a log of n entries, in spans that do not overlap:
// all entries; or of those that are new since from the newest, up to half of the
// sample, and for the rest those from next on, and from 0 after the last.
func window(n, from int64, sample int, next int64) []span {
	left := int64(sample)
	switch {
	case sample == 0 || n == 0:
		return nil
	case sample < 0 || left >= n:
		return []span{{0, n}}
	}
	fresh := n
	if from > 0 {
		fresh = n - min(n-from, left/2)
		left -= n - fresh
	}
	if next < 0 || next >= fresh {
		next = 0
	}
	// There are fresh old entries, more than are left to take.
	end := next + left
	spans := []span{{next, min(end, fresh)}}
	if end > fresh {
		spans = append(spans, span{0, end - fresh})
	}
	if fresh < n {
		spans = append(spans, span{fresh, n})
	}
	return spans
}

// after returns what next is for the sample after spans.
func after(spans []span, next int64) int64 {
	if len(spans) == 0 {
		return next
	}
	if len(spans) > 1 && spans[1].from == 0 {
		return spans[1].to
	}
	return spans[0].to
}
