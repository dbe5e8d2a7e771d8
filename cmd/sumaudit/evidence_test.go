// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/evidence"
)

// goldenEvidence returns the golden files of package evidence, at least one of each
// kind.
func goldenEvidence(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../internal/evidence/testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	return files
}

// verifyEvidence runs the command and returns its exit code, and what it prints.
func verifyEvidence(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = program.Run(t.Context(), append([]string{"evidence"}, args...), &stdout, &stderr)
	if (code == 0) != (stderr.Len() == 0) {
		t.Errorf("%q: exit %d, and on stderr %q", args, code, stderr.String())
	}
	return code, stdout.String()
}

// TestVerdicts verifies a file of each kind: as it is, for the right key, for one
// of two right ones, for a wrong key, and broken.
func TestVerdicts(t *testing.T) {
	stranger := parseGolden(t, "../../internal/evidence/testdata/E11-mod.txt").Key().String()
	for _, file := range goldenEvidence(t) {
		e := parseGolden(t, file)
		word, code := "PROVEN", exitMisbehaviour
		if e.Observation() {
			word, code = "OBSERVATION", cli.Done
		}
		var vkeys []string
		for _, k := range e.Accused() {
			vkeys = append(vkeys, k.String())
		}
		check := func(word string, code int, pinned bool, args ...string) {
			t.Helper()
			got, out := verifyEvidence(t, append(args, file)...)
			if first := strings.Fields(out)[0]; strings.TrimSuffix(first, ":") != word || got != code {
				t.Errorf("%s, %q: exit %d, %s", filepath.Base(file), args, got, out)
			}
			for _, k := range vkeys {
				if !strings.Contains(out, "accused  "+k+"\n") {
					t.Errorf("%s, %q: does not name %s: %s", filepath.Base(file), args, k, out)
				}
			}
			if len(vkeys) == 0 {
				if !strings.Contains(out, "\naccused  nobody's key\n") {
					t.Errorf("%s, %q: %s", filepath.Base(file), args, out)
				}
			} else if pinned != strings.Contains(out, "named by -vkey") || pinned == strings.Contains(out, "not known to be anybody's") {
				t.Errorf("%s, %q: pinned, or not: %s", filepath.Base(file), args, out)
			}
			if !strings.Contains(out, "claim    "+string(e.Kind())+": ") {
				t.Errorf("%s, %q: no claim: %s", filepath.Base(file), args, out)
			}
		}
		check(word, code, false)
		check(word, code, true, "-vkey", strings.Join(vkeys, " "))
		check(word, code, true, "-vkey", strings.Join(append(vkeys, stranger), " "))
		switch {
		case len(vkeys) == 0: // nobody is accused, and so no stranger
			check(word, code, false, "-vkey", stranger)
		case !slices.Contains(vkeys, stranger):
			check("NOT-PROVEN", cli.Failed, false, "-vkey", stranger)
		}
		if len(vkeys) == 2 {
			// Anybody could accuse the first log with one of his own.
			if code, out := verifyEvidence(t, "-vkey", vkeys[0], file); code != cli.Failed || !strings.HasPrefix(out, "NOT-PROVEN") {
				t.Errorf("one of two keys: exit %d, %s", code, out)
			}
		}
	}
}

func parseGolden(t *testing.T, file string) *evidence.Evidence {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := evidence.Parse(data)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return e
}

func TestVerdictJSON(t *testing.T) {
	for _, file := range goldenEvidence(t) {
		e := parseGolden(t, file)
		vkey := ""
		if len(e.Accused()) > 0 {
			vkey = e.Key().String()
		}
		_, out := verifyEvidence(t, "-json", "-vkey", vkey, file)
		var v verdict
		d := json.NewDecoder(strings.NewReader(out))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		if v.Kind != string(e.Kind()) || v.Claim != e.String() || len(v.Accused) != len(e.Accused()) ||
			len(v.Accused) > 0 && (!v.Accused[0].Pinned || v.Accused[0].VKey != vkey) || (v.Verdict == notProven) != (v.Reason != "") {
			t.Errorf("%s: %+v", file, v)
		}
		if len(v.Accused) == 2 && (v.Accused[1].Pinned || v.Verdict != notProven) {
			t.Errorf("%s: %+v", file, v)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("sumlog evidence v1 E2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out := verifyEvidence(t, "-json", bad)
	var v verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != cli.Failed || v.Verdict != notProven || v.Reason == "" || v.Accused != nil {
		t.Errorf("%v, exit %d: %s", err, code, out)
	}
}

// TestNotEvidence has inputs that are no evidence: without an answer where there is
// nothing to read, and otherwise NOT-PROVEN.
func TestNotEvidence(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile("../../internal/evidence/testdata/E2.txt")
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, data := range map[string][]byte{
		"empty":        nil,
		"flipped":      flipped,
		"more":         append(bytes.Clone(good), "\n"...),
		"before":       append([]byte("go: \n"), good...),
		"no text":      bytes.Repeat([]byte{0x1b, 0, 0xff}, 1000),
		"large":        bytes.Repeat([]byte("x"), evidence.MaxFile+100),
		"large at end": append(bytes.Clone(good), make([]byte, evidence.MaxFile)...),
	} {
		if code, out := verifyEvidence(t, file("bad", data)); code != cli.Failed || !strings.HasPrefix(out, "NOT-PROVEN: ") || strings.Contains(out, "\x1b") {
			t.Errorf("%s: exit %d, %q", name, code, out)
		}
	}
	if code, out := verifyEvidence(t, filepath.Join(dir, "missing")); code != cli.Failed || out != "" {
		t.Errorf("no file: exit %d, %q", code, out)
	}
	if code, out := verifyEvidence(t, "-vkey", "x", file("good", good)); code != cli.Usage || out != "" {
		t.Errorf("no vkey: exit %d, %q", code, out)
	}
	if code, out := verifyEvidence(t, file("go", []byte("old database:\n"))); code != cli.Usage || out != "" {
		t.Errorf("what the go command printed, without a key: exit %d, %q", code, out)
	}
	key := parseGolden(t, "../../internal/evidence/testdata/E2.txt").Key().String()
	if code, out := verifyEvidence(t, "-vkey", key, file("go", []byte("old database:\n"))); code != cli.Failed || !strings.HasPrefix(out, "NOT-PROVEN: ") {
		t.Errorf("half of what the go command printed: exit %d, %q", code, out)
	}
}
