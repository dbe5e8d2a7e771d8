// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package conform

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"example.org/sumlog/internal/checkpoint"
	"golang.org/x/mod/sumdb/tlog"
)

// The parts of a request that a malformed one is made of.
type parts struct {
	r     *run
	s     submission
	old   string   // the first line, without newline
	proof []string // lines
	note  string
}

func (p parts) body() string {
	return strings.Join(append([]string{p.old}, p.proof...), "\n") + "\n\n" + p.note
}

func (r *run) parts() parts {
	s := r.next()
	p := parts{r: r, s: s, old: "old " + strconv.FormatInt(s.old, 10), note: string(s.note.Bytes())}
	for _, h := range s.proof {
		p.proof = append(p.proof, h.String())
	}
	return p
}

// first returns p with another first hash.
func (p parts) first(line string) string {
	p.proof[0] = line
	return p.body()
}

// oldLine returns the body with another first line.
func (p parts) oldLine(line string) string {
	p.old = line
	return p.body()
}

// text returns the body with another text of the checkpoint, signed.
func (p parts) text(text string) string {
	p.note = string(p.r.signed(text).Bytes())
	return p.body()
}

// lines returns the body with a checkpoint of other lines, signed.
func (p parts) lines(size, root string, ext ...string) string {
	return p.text(strings.Join(append([]string{p.r.log.origin(), size, root}, ext...), "\n") + "\n")
}

func (p parts) size() string { return strconv.FormatInt(p.s.size, 10) }
func (p parts) root() string { return p.s.tree.root(p.s.size).String() }

// wrap returns the number which a program that drops what is above 64 bits takes
// for n.
func wrap(n int64) string {
	// 2^64 = 18446744073709551616
	const high, low = 18446744073, 709551616
	sum := low + n%1e9
	return strconv.FormatInt(high+n/1e9+sum/1e9, 10) + fmt.Sprintf("%09d", sum%1e9)
}

// malformed is the case of bodies that are all wrong in one way. All but what is
// wrong in them would do. Their form is forbidden by the specification; that the
// status is 400 is the meaning of it in HTTP.
func malformed(name, rule string, want []int, bodies func(p parts) []string) Case {
	return Case{name, rule, onGrown(func(ctx context.Context, r *run) error {
		n := len(bodies(r.parts()))
		for i := range n {
			p := r.parts()
			body := bodies(p)[i]
			if err := malformedBody(ctx, r, p.s, body, want); err != nil {
				return err
			}
		}
		return nil
	})}
}

// malformedBody submits a body that must be refused. Another status than that of
// HTTP is a lesser fault than a cosignature.
func malformedBody(ctx context.Context, r *run, s submission, body string, want []int) error {
	_, err := r.refusedBody(ctx, s, []byte(body), want...)
	if errors.As(err, new(otherStatus)) {
		return soft{err}
	}
	return err
}

const (
	requestRule    = "tlog-witness, add-checkpoint, body: "
	checkpointRule = "tlog-checkpoint, note text: "
	noteRule       = "signed-note, format: "
)

var badRequest = []int{http.StatusBadRequest}

// formCases are those of malformed requests around a good checkpoint.
func formCases() []Case {
	bad := func(name, rule string, bodies func(p parts) []string) Case {
		return malformed(name, requestRule+rule+"; else 400", badRequest, bodies)
	}
	return []Case{
		bad("body-empty", "it is not empty", func(p parts) []string { return []string{"", "\n"} }),
		bad("old-missing", "it begins with the old size", func(p parts) []string {
			return []string{strings.Join(p.proof, "\n") + "\n\n" + p.note}
		}),
		bad("old-twice", "there is one line of the old size", func(p parts) []string {
			return []string{p.oldLine(p.old + "\n" + p.old)}
		}),
		bad("old-word", "the word before the old size is exactly old", func(p parts) []string {
			return []string{p.oldLine("Old" + p.old[3:]), p.oldLine("size" + p.old[3:]), p.oldLine(p.old[4:])}
		}),
		bad("old-space", "there is one space before the old size, and none elsewhere", func(p parts) []string {
			n := p.old[4:]
			return []string{p.oldLine("old  " + n), p.oldLine("old\t" + n), p.oldLine("old" + n), p.oldLine(p.old + " "), p.oldLine(" " + p.old)}
		}),
		bad("old-zeros", "the old size has no leading zeros", func(p parts) []string {
			return []string{p.oldLine("old 0" + p.old[4:])}
		}),
		bad("old-plus", "the old size has no sign", func(p parts) []string { return []string{p.oldLine("old +" + p.old[4:])} }),
		bad("old-minus", "the old size is not negative", func(p parts) []string { return []string{p.oldLine("old -" + p.old[4:])} }),
		bad("old-no-number", "the old size is a decimal number", func(p parts) []string {
			return []string{p.oldLine("old "), p.oldLine("old"), p.oldLine("old " + p.old[4:] + "x"), p.oldLine("old 0x" + strconv.FormatInt(p.s.old, 16)), p.oldLine("old " + p.old[4:] + ".0")}
		}),
		bad("old-overflow", "the old size does not wrap around", func(p parts) []string {
			return []string{p.oldLine("old " + wrap(p.s.old))}
		}),
		bad("line-ends", "lines end in a newline alone", func(p parts) []string {
			return []string{p.oldLine(p.old + "\r"), strings.Join(append([]string{p.old}, p.proof...), "\r\n") + "\r\n\r\n" + p.note}
		}),
		bad("blank-missing", "an empty line follows the proof", func(p parts) []string {
			return []string{strings.Join(append([]string{p.old}, p.proof...), "\n") + "\n" + p.note}
		}),
		bad("proof-characters", "hashes are in base64", func(p parts) []string {
			return []string{p.first("*" + p.proof[0][1:])}
		}),
		bad("proof-padding", "hashes are in base64 with its padding", func(p parts) []string {
			return []string{p.first(strings.TrimRight(p.proof[0], "="))}
		}),
		bad("proof-space", "there is nothing but a hash in a line of the proof", func(p parts) []string {
			return []string{p.first(p.proof[0] + " "), p.first(" " + p.proof[0])}
		}),
		bad("proof-31-bytes", "a hash has 32 bytes", func(p parts) []string {
			h := p.s.proof[0]
			return []string{p.first(base64.StdEncoding.EncodeToString(h[:31])), p.first(base64.StdEncoding.EncodeToString(append(h[:], 0)))}
		}),
		soften(bad("proof-bits", "base64 has one encoding of a hash (RFC 4648, 3.5)", func(p parts) []string {
			return []string{p.first(spareBits(p.proof[0]))}
		})),
		malformed("proof-64", requestRule+"at most 63 hashes; else 400 or, as a bad proof, 422", []int{http.StatusBadRequest, http.StatusUnprocessableEntity},
			func(p parts) []string {
				for len(p.proof) < checkpoint.MaxProof+1 {
					p.proof = append(p.proof, tlog.Hash{}.String())
				}
				return []string{p.body()}
			}),
	}
}

// soften returns a case of which RFC 4648 leaves even the acceptance open.
func soften(c Case) Case {
	strict := c.run
	c.run = func(ctx context.Context, r *run) error {
		err := strict(ctx, r)
		if err == nil || errors.As(err, new(skipped)) {
			return err
		}
		return soft{err}
	}
	return c
}

// spareBits sets the bits of a base64 hash that mean nothing.
func spareBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := strings.IndexByte(s, '=') - 1
	return s[:i] + string(alphabet[strings.IndexByte(alphabet, s[i])|1]) + s[i+1:]
}

// noteCases are those of malformed notes and checkpoints, signed by the log where
// that can be.
func noteCases() []Case {
	unread := []int{http.StatusBadRequest, http.StatusForbidden}
	note := func(name, rule string, bodies func(p parts) []string) Case {
		return malformed(name, noteRule+rule+"; else 400 or, as unsigned, 403", unread, bodies)
	}
	text := func(name, rule string, bodies func(p parts) []string) Case {
		return malformed(name, checkpointRule+rule+"; else 400", badRequest, bodies)
	}
	return []Case{
		note("note-missing", "a request has a note", func(p parts) []string {
			p.note = ""
			return []string{p.body(), strings.TrimSuffix(p.body(), "\n")}
		}),
		note("note-newline", "the last signature line ends in a newline", func(p parts) []string {
			return []string{strings.TrimSuffix(p.body(), "\n")}
		}),
		note("note-unsigned", "there is a signature line", func(p parts) []string {
			p.note = p.s.note.Text
			withBlank := p
			withBlank.note += "\n"
			return []string{p.body(), withBlank.body()}
		}),
		note("note-blank", "an empty line is between text and signatures", func(p parts) []string {
			p.note = p.s.note.Text + p.s.note.Signatures[0].String()
			return []string{p.body()}
		}),
		note("note-signature-line", "after the last empty line there are only signature lines", func(p parts) []string {
			junk := []string{"junk\n", "— unknown.example/a\n", "— unknown.example/a ****\n", "- unknown.example/a AAAAAQAA\n", "— unknown.example+a AAAAAQAA\n", "— unknown.example/a AAAA\n"}
			var out []string
			for _, line := range junk {
				out = append(out, p.body()+line)
			}
			return out
		}),
		note("note-control", "no control characters", func(p parts) []string {
			return []string{p.lines(p.size(), p.root(), "extension\x01"), p.lines(p.size(), p.root(), "extension\t"), p.lines(p.size(), p.root(), "extension\r")}
		}),
		note("note-utf8", "UTF-8", func(p parts) []string {
			return []string{p.lines(p.size(), p.root(), "extension \xff"), p.lines(p.size(), p.root(), "extension \xc0\xaf"), p.lines(p.size(), p.root(), "extension \xed\xa0\x80")}
		}),
		text("text-short", "three lines at least", func(p parts) []string {
			return []string{p.text(p.r.log.origin() + "\n" + p.size() + "\n"), p.text(p.r.log.origin() + "\n")}
		}),
		text("size-zeros", "the size has no leading zeros", func(p parts) []string { return []string{p.lines("0"+p.size(), p.root())} }),
		text("size-sign", "the size has no sign", func(p parts) []string {
			return []string{p.lines("+"+p.size(), p.root()), p.lines("-"+p.size(), p.root())}
		}),
		text("size-space", "the size stands alone in its line", func(p parts) []string {
			return []string{p.lines(p.size()+" ", p.root()), p.lines(" "+p.size(), p.root()), p.lines(p.size()+" x", p.root())}
		}),
		text("size-overflow", "the size does not wrap around", func(p parts) []string { return []string{p.lines(wrap(p.s.size), p.root())} }),
		text("root-characters", "the root is in base64", func(p parts) []string {
			return []string{p.lines(p.size(), "*"+p.root()[1:]), p.lines(p.size(), p.root()+" "), p.lines(p.size(), strings.TrimRight(p.root(), "="))}
		}),
		text("root-31-bytes", "the root is a hash of 32 bytes", func(p parts) []string {
			h := p.s.tree.root(p.s.size)
			return []string{p.lines(p.size(), base64.StdEncoding.EncodeToString(h[:31])), p.lines(p.size(), base64.StdEncoding.EncodeToString(append(h[:], 0)))}
		}),
		soften(text("root-bits", "base64 has one encoding of a root (RFC 4648, 3.5)", func(p parts) []string {
			return []string{p.lines(p.size(), spareBits(p.root()))}
		})),
		text("extension-empty", "extension lines are not empty", func(p parts) []string {
			return []string{p.lines(p.size(), p.root(), "", "extension"), p.lines(p.size(), p.root(), "extension", "")}
		}),
	}
}
