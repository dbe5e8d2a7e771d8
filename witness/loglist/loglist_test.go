// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package loglist

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/internal/checkpoint"
)

func key(t testing.TB, name string, seed byte) *checkpoint.Key {
	t.Helper()
	k, err := checkpoint.NewKey(name, checkpoint.Ed25519, bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// format writes a list as Parse reads it.
func format(list []Entry) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, header)
	for _, e := range list {
		fmt.Fprintf(&b, "vkey %v\norigin %s\nqpd %d\ncontact %s\n", e.Key, e.Origin, e.QPD, e.Contact)
	}
	return b.Bytes()
}

func TestParse(t *testing.T) {
	foo, bar := key(t, "tlog.foo.example", 1), key(t, "bar.example/tlog", 2)
	text := fmt.Sprintf(`
#
# List: 10qps-100klogs
#
 logs/v0 	

# first
vkey %v
qpd 86400
contact https://tlog.foo.example/contact
# second
	vkey  %v
origin something not equal to  the name
# in between
qpd 2147483647
contact sysadmin (at) bar.example `+"\u202e\r\n", foo, bar)
	got, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint(foo, "|tlog.foo.example|86400|https://tlog.foo.example/contact"),
		fmt.Sprint(bar, "|something not equal to  the name|2147483647|sysadmin (at) bar.example \ufffd"),
	}
	for i, e := range got {
		if s := fmt.Sprintf("%v|%s|%d|%s", e.Key, e.Origin, e.QPD, e.Contact); i >= len(want) || s != want[i] {
			t.Errorf("entry %d is %q", i, s)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries", len(got))
	}
	if list, err := Parse([]byte("logs/v0")); err != nil || len(list) != 0 {
		t.Errorf("no logs: %v, %v", list, err)
	}
}

func TestParseRefuses(t *testing.T) {
	k := key(t, "log.example", 1)
	cosigner, err := checkpoint.NewKey("log.example", checkpoint.CosignatureEd25519, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	entry := fmt.Sprintf("vkey %v\nqpd 1\ncontact c\n", k)
	good := "logs/v0\n" + entry
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":              "",
		"only comments":      "# logs/v0\n",
		"no header":          entry,
		"another version":    strings.Replace(good, "v0", "v1", 1),
		"two headers":        "logs/v0\n" + good,
		"cut after vkey":     good[:strings.Index(good, "qpd")],
		"cut after qpd":      good[:strings.Index(good, "contact")],
		"no qpd":             strings.Replace(good, "qpd 1\n", "", 1),
		"no vkey":            strings.Replace(good, "vkey", "#", 1),
		"another order":      strings.Replace(good, "qpd 1\ncontact c\n", "contact c\nqpd 1\n", 1),
		"origin after qpd":   strings.Replace(good, "contact", "origin o\ncontact", 1),
		"two origins":        strings.Replace(good, "qpd", "origin o\norigin p\nqpd", 1),
		"two vkeys":          strings.Replace(good, "qpd", "vkey "+k.String()+"\nqpd", 1),
		"unknown line":       strings.Replace(good, "qpd", "shard 1\nqpd", 1),
		"empty contact":      strings.Replace(good, "contact c", "contact ", 1),
		"no value":           strings.Replace(good, "contact c", "contact", 1),
		"upper case":         strings.Replace(good, "qpd", "QPD", 1),
		"tab for space":      strings.Replace(good, "qpd ", "qpd\t", 1),
		"qpd 0":              strings.Replace(good, "qpd 1", "qpd 0", 1),
		"qpd negative":       strings.Replace(good, "qpd 1", "qpd -1", 1),
		"qpd with sign":      strings.Replace(good, "qpd 1", "qpd +1", 1),
		"qpd padded":         strings.Replace(good, "qpd 1", "qpd 01", 1),
		"qpd of 2^31":        strings.Replace(good, "qpd 1", "qpd 2147483648", 1),
		"qpd of two numbers": strings.Replace(good, "qpd 1", "qpd 1 1", 1),
		"another algorithm":  strings.Replace(good, k.String(), cosigner.String(), 1),
		"bad ID":             strings.Replace(good, fmt.Sprintf("+%08x+", k.ID()), "+00000000+", 1),
		"vkey and more":      strings.Replace(good, k.String(), k.String()+" x", 1),
		"origin twice":       good + fmt.Sprintf("vkey %v\norigin log.example\nqpd 1\ncontact c\n", key(t, "other.example", 2)),
		"control character":  strings.Replace(good, "contact c", "contact \x1b[2J", 1),
		"not UTF-8":          strings.Replace(good, "contact c", "contact \xff", 1),
		"long line":          good + "# " + strings.Repeat("x", 1<<20),
		"long list":          good + strings.Repeat("#\n", MaxList/2),
	} {
		if list, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %d entries", name, len(list))
		}
	}
}

func TestPlan(t *testing.T) {
	a, a2, b := key(t, "a.example", 1), key(t, "a.example", 2), key(t, "b.example", 3)
	own, taken := key(t, "w.example", 4), key(t, "log.example", 5)
	entry := func(k *checkpoint.Key, origin string) Entry { return Entry{k, origin, 10, "c"} }
	for _, tt := range []struct {
		name  string
		have  []Known
		list  []Entry
		add   []string // origins
		alarm string   // in the one alarm
	}{
		{name: "nothing"},
		{"new", nil, []Entry{entry(a, "a.example"), entry(b, "o")}, []string{"a.example", "o"}, ""},
		{"known", []Known{{"a.example", []*checkpoint.Key{a}}}, []Entry{entry(a, "a.example")}, nil, ""},
		{"one of several keys", []Known{{"a.example", []*checkpoint.Key{a2, a}}}, []Entry{entry(a, "a.example")}, nil, ""},
		{"gone from the list", []Known{{"a.example", []*checkpoint.Key{a}}}, nil, nil, ""},
		{"another key, same name", []Known{{"a.example", []*checkpoint.Key{a}}}, []Entry{entry(a2, "a.example")}, nil, "not the key known"},
		{"another key, another name", []Known{{"a.example", []*checkpoint.Key{a}}}, []Entry{entry(b, "a.example")}, nil, "not the key known"},
		{"known without key", []Known{{"a.example", nil}}, []Entry{entry(a, "a.example")}, nil, "not the key known"},
		{"own name as origin", nil, []Entry{entry(a, "w.example"), entry(b, "b.example")}, []string{"b.example"}, "own name"},
		{"own second name", nil, []Entry{entry(a, "w2.example")}, nil, "own name"},
		{"own name as key name", nil, []Entry{entry(own, "o")}, nil, "own name"},
		{"own name, known", []Known{{"w.example", []*checkpoint.Key{own}}}, []Entry{entry(own, "w.example")}, nil, "own name"},
		{"same key, another origin", []Known{{"log.example", []*checkpoint.Key{taken}}}, []Entry{entry(taken, "o")}, []string{"o"}, ""},
		{"longest origin", nil, []Entry{entry(a, strings.Repeat("x", 255))}, []string{strings.Repeat("x", 255)}, ""},
		{"origin too long", nil, []Entry{entry(a, strings.Repeat("x", 256)), entry(b, "o")}, []string{"o"}, "256 bytes"},
	} {
		add, alarms := Plan(tt.have, tt.list, []string{"w.example", "w2.example"})
		var got []string
		for _, e := range add {
			got = append(got, e.Origin)
		}
		if !slices.Equal(got, tt.add) {
			t.Errorf("%s: adds %q, want %q", tt.name, got, tt.add)
		}
		if tt.alarm == "" && len(alarms) > 0 || tt.alarm != "" && (len(alarms) != 1 || !strings.Contains(alarms[0], tt.alarm)) {
			t.Errorf("%s: alarms %q", tt.name, alarms)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("logs/v0\n"))
	f.Add(format([]Entry{{key(f, "a.example", 1), "a.example", 1, "c"}, {key(f, "b.example", 2), "o o", 1<<31 - 1, "d e"}}))
	f.Add([]byte(" # c\r\n\nlogs/v0\nvkey a\norigin b\nqpd 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(format(list))
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b Entry) bool {
			return a.Key.String() == b.Key.String() && a.Origin == b.Origin && a.QPD == b.QPD && a.Contact == b.Contact
		}
		if !slices.EqualFunc(list, again, same) {
			t.Errorf("%v\nread again is\n%v", list, again)
		}
		if add, _ := Plan(nil, list, nil); len(add) > len(list) {
			t.Errorf("%d of %d added", len(add), len(list))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	list := make([]Entry, 40_000)
	for i := range list {
		name := fmt.Sprintf("log%d.example", i)
		list[i] = Entry{key(b, name, byte(i)), name, 86400, "somebody@" + name}
	}
	text := format(list)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
