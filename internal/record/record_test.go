// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// A record of the public checksum database, golang.org/x/text@v0.3.0.
const good = "golang.org/x/text v0.3.0 h1:g61tztE5qeGQ89tm6NTjjM9VPIm088od1l6aSorWRWg=\n" +
	"golang.org/x/text v0.3.0/go.mod h1:NqM8EUOU14njkJ3fqMW+pc6Ldnwhi/IjpwHt7yyuwOQ=\n"

func TestParse(t *testing.T) {
	r, err := Parse([]byte(good))
	if err != nil || string(r.Path) != "golang.org/x/text" || string(r.Version) != "v0.3.0" {
		t.Fatalf("%q, %q, %v", r.Path, r.Version, err)
	}
	if !strings.Contains(good, " "+H1(r.Zip)+"\n") || !strings.HasSuffix(good, "/go.mod "+H1(r.Mod)+"\n") {
		t.Errorf("hashes %s, %s", H1(r.Zip), H1(r.Mod))
	}
	if !bytes.Equal(r.Text(), []byte(good)) {
		t.Errorf("Text: %q", r.Text())
	}
	if err := Check(r); err != nil {
		t.Error(err)
	}
}

func TestParseBad(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	first, second, _ := strings.Cut(good, "\n")
	for name, test := range map[string]struct {
		rule Rule
		text string
	}{
		"empty":                 {Form, ""},
		"one line":              {Form, first + "\n"},
		"no newline at the end": {Form, strings.TrimSuffix(good, "\n")},
		"third line":            {Form, good + first + "\n"},
		"empty line after":      {Form, good + "\n"},
		"empty line before":     {Form, "\n" + good},
		"space after":           {Form, change("=\n", "= \n")},
		"two spaces":            {Form, change(" v0.3.0 ", "  v0.3.0 ")},
		"tab":                   {Form, change(" v0.3.0 ", "\tv0.3.0 ")},
		"CRLF":                  {Form, strings.ReplaceAll(good, "\n", "\r\n")},
		"no-break space":        {Form, change("x/text v0.3.0 ", "x/te\u00a0xt v0.3.0 ")},
		"not UTF-8":             {Form, change("x/text v0.3.0 ", "x/te\xffxt v0.3.0 ")},
		"NUL":                   {Form, change("x/text v0.3.0 ", "x/te\x00xt v0.3.0 ")},
		"DEL":                   {Form, change("x/text v0.3.0 ", "x/te\x7fxt v0.3.0 ")},
		"no path":               {Form, strings.ReplaceAll(good, "golang.org/x/text", "")},
		"no version":            {Form, strings.ReplaceAll(good, "v0.3.0", "")},
		"another path":          {Form, first + "\n" + strings.Replace(second, "x/text", "x/test", 1)},
		"another version":       {Form, first + "\n" + strings.Replace(second, "v0.3.0", "v0.3.1", 1)},
		"lines exchanged":       {Form, second + first + "\n"},
		"no go.mod":             {Form, first + "\n" + first + "\n"},
		"another algorithm":     {Hash, change(" h1:", " h2:")},
		"another one for mod":   {Hash, change("/go.mod h1:", "/go.mod h2:")},
		"padding bits":          {Hash, change("WRWg=", "WRWh=")},
		"no padding":            {Hash, change("WRWg=", "WRWg")},
		"31 bytes":              {Hash, change("WRWg=", "WQ==")},
		"33 bytes":              {Hash, change("WRWg=", "WRWgAAAA")},
		"not base64":            {Hash, change("WRWg=", "WR*g=")},
		"too long":              {Form, strings.ReplaceAll(good, "x/text", strings.Repeat("x", 1<<15))},
	} {
		_, err := Parse([]byte(test.text))
		if e, ok := errors.AsType[*Error](err); !ok || e.Rule != test.rule {
			t.Errorf("%s: %v, want %s", name, err, test.rule)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, name := range []string{"example v1.0.0", "example.com/a v1.0", "example.com/a v2.0.0", "example.com/a v1.0.0+meta", "example.com/.a v1.0.0", "example.com/a 1.0.0"} {
		r, err := Parse([]byte(strings.ReplaceAll(good, "golang.org/x/text v0.3.0", name)))
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := errors.AsType[*Error](Check(r)); !ok || e.Rule != Module {
			t.Errorf("%s: %v", name, Check(r))
		}
	}
}

func TestParseAllocs(t *testing.T) {
	texts := [][]byte{[]byte(good), []byte(good + "x"), []byte(strings.Replace(good, "h1:", "h2:", 1))}
	if n := testing.AllocsPerRun(100, func() {
		for _, text := range texts {
			Parse(text)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: what is accepted is formatted again to the same bytes, so that a
// record has one text.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a b h1:\na b/go.mod h1:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		if !bytes.Equal(r.Text(), text) {
			t.Errorf("%q was formatted as %q", text, r.Text())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := []byte(good)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
