// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"encoding/base64"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

// oldTo returns a reader of first lines that takes what matches for the old size
// in the first group.
func oldTo(re string) func(*fake, string) string {
	r := regexp.MustCompile(re)
	return func(w *fake, body string) string { return r.ReplaceAllString(body, "old $1\n") }
}

// headLines returns a reader of the lines of the proof.
func headLines(f func(string) string) func(*fake, string) string {
	return func(w *fake, body string) string {
		head, note, ok := strings.Cut(body, "\n\n")
		if !ok {
			return body
		}
		lines := strings.Split(head, "\n")
		for i := 1; i < len(lines); i++ {
			lines[i] = f(lines[i])
		}
		return strings.Join(lines, "\n") + "\n\n" + note
	}
}

// canonical reads base64 as most libraries do.
func canonical(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return s
	}
	return base64.StdEncoding.EncodeToString(b)
}

// wrapped reads a number as a program does that does not check for overflow.
func wrapped(s string) string {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return s
	}
	return strconv.FormatUint(new(big.Int).And(n, new(big.Int).SetUint64(1<<64-1)).Uint64(), 10)
}

// resized reads anything as a hash.
func resized(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return tlog.Hash{}.String()
	}
	var h tlog.Hash
	copy(h[:], b)
	return h.String()
}

// withoutZeros ignores what is behind a proof.
func withoutZeros(w *fake, body string) string {
	zero := tlog.Hash{}.String() + "\n"
	for strings.Contains(body, zero+"\n") {
		body = strings.Replace(body, zero+"\n", "\n", 1)
	}
	return body
}

// lenientBody makes of a malformed body what a careless witness takes it for.
var lenientBody = map[string]func(*fake, string) string{
	"old-missing": func(w *fake, body string) string {
		if !strings.HasPrefix(body, "old ") {
			body = "old " + strconv.FormatInt(w.st.cp.Size, 10) + "\n" + body
		}
		return body
	},
	"old-twice": oldTo(`^old (\d+)\nold \d+\n`),
	"old-word":  oldTo(`^(?i:old|size)? *(\d+)\n`),
	"old-space": oldTo(`^[ \t]*old[ \t]*(\d+)[ \t]*\n`),
	"old-zeros": oldTo(`^old 0*(\d+)\n`),
	"old-plus":  oldTo(`^old \+(\d+)\n`),
	"old-minus": oldTo(`^old -(\d+)\n`),
	"old-overflow": func(w *fake, body string) string {
		return reOld.ReplaceAllStringFunc(body, func(s string) string { return "old " + wrapped(s[4:]) })
	},
	"old-no-number": func(w *fake, body string) string {
		first, rest, _ := strings.Cut(body, "\n")
		if strings.HasPrefix(first, "old") {
			if _, err := strconv.ParseInt(strings.TrimPrefix(first, "old "), 10, 64); err != nil {
				first = "old " + strconv.FormatInt(w.st.cp.Size, 10)
			}
		}
		return first + "\n" + rest
	},
	"line-ends": func(w *fake, body string) string { return strings.ReplaceAll(body, "\r", "") },
	"blank-missing": func(w *fake, body string) string {
		i := strings.Index(body, "\n"+w.log.origin()+"\n")
		if i > 0 && body[i-1] != '\n' {
			body = body[:i] + "\n" + body[i:]
		}
		return body
	},
	"proof-characters": headLines(func(s string) string { return strings.ReplaceAll(s, "*", "A") }),
	"proof-padding": headLines(func(s string) string {
		if len(s) == 43 {
			s += "="
		}
		return s
	}),
	"proof-space":    headLines(strings.TrimSpace),
	"proof-31-bytes": headLines(resized),
	"proof-bits":     headLines(canonical),
	"proof-64":       withoutZeros,
	"note-newline": func(w *fake, body string) string {
		return strings.TrimSuffix(body, "\n") + "\n"
	},
	"note-unsigned": func(w *fake, body string) string {
		if strings.Contains(body, "\n— ") {
			return body
		}
		head, text, _ := strings.Cut(strings.TrimRight(body, "\n")+"\n", "\n\n")
		return head + "\n\n" + text + "\n" + w.log.sign(text).String()
	},
	"note-blank": func(w *fake, body string) string {
		if !strings.Contains(body, "\n\n— ") {
			body = strings.Replace(body, "\n— ", "\n\n— ", 1)
		}
		return body
	},
	"note-signature-line": func(w *fake, body string) string {
		text, sigs, ok := strings.Cut(body, "\n\n— ")
		if !ok {
			return body
		}
		out := text + "\n\n"
		for line := range strings.SplitSeq("— "+sigs, "\n") {
			if _, err := checkpoint.ParseSignature(line); err == nil {
				out += line + "\n"
			}
		}
		return out
	},
}

var reOld = regexp.MustCompile(`^old \d+`)

// textLine returns a reader of a line of a checkpoint.
func textLine(i int, f func(string) string) func(string) string {
	return func(text string) string {
		lines := strings.Split(text, "\n")
		if len(lines) > i {
			lines[i] = f(lines[i])
		}
		return strings.Join(lines, "\n")
	}
}

// lenientText makes of the text of a checkpoint what a careless witness takes it
// for.
var lenientText = map[string]func(string) string{
	"note-control": func(text string) string {
		return strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\n' {
				return -1
			}
			return r
		}, text)
	},
	"note-utf8":       func(text string) string { return strings.ToValidUTF8(text, "?") },
	"size-zeros":      textLine(1, func(s string) string { return strings.TrimLeft(s, "0") }),
	"size-sign":       textLine(1, func(s string) string { return strings.TrimLeft(s, "+-") }),
	"size-space":      textLine(1, func(s string) string { return strings.Fields(s)[0] }),
	"size-overflow":   textLine(1, wrapped),
	"root-characters": textLine(2, resized),
	"root-31-bytes":   textLine(2, resized),
	"root-bits":       textLine(2, canonical),
	"extension-empty": func(text string) string {
		for strings.Contains(text, "\n\n") {
			text = strings.ReplaceAll(text, "\n\n", "\n")
		}
		return text
	},
}
