// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
)

// A Module is a module version, made of nothing but this.
type Module struct {
	Path string
	V    string // version
	Salt string // makes other contents under the same name

	// Mod is what is logged and served as its go.mod, if not the one in its zip.
	Mod string
}

// Version returns what names the module version.
func (m Module) Version() module.Version { return module.Version{Path: m.Path, Version: m.V} }

// Time is the time that the .info of every module says.
var Time = time.Date(2023, 1, 2, 3, 4, 5, 0, time.UTC)

// generate returns the i'th module. Eight follow each other for which the rules
// differ: releases, a prerelease, a pseudo-version, a major version of its own path,
// one that is +incompatible, and a path with nothing but a pseudo-version.
func generate(i int, salt string) Module {
	path := fmt.Sprintf("example.com/Tools/g%d", i/8)
	pseudo := fmt.Sprintf("v0.0.0-20230102030405-%012x", i)
	switch i % 8 {
	case 0:
		return Module{Path: path, V: "v1.0.0", Salt: salt}
	case 1:
		return Module{Path: path, V: "v1.0.1", Salt: salt}
	case 2:
		return Module{Path: path, V: "v1.1.0-rc.1", Salt: salt}
	case 3:
		return Module{Path: path, V: "v1.1.0", Salt: salt}
	case 4:
		return Module{Path: path, V: pseudo, Salt: salt}
	case 5:
		return Module{Path: path + "/v2", V: "v2.0.0", Salt: salt}
	case 6:
		return Module{Path: path, V: "v2.1.0+incompatible", Salt: salt}
	}
	return Module{Path: fmt.Sprintf("example.com/only%d", i/8), V: pseudo, Salt: salt}
}

// files returns the files of the zip.
func (m Module) files() map[string]string {
	f := map[string]string{
		"m.go": fmt.Sprintf("// Package m is %s %s%s.\npackage m\n", m.Path, m.V, m.Salt),
	}
	if !strings.HasSuffix(m.V, "+incompatible") {
		f["go.mod"] = m.zipMod()
	}
	return f
}

func (m Module) zipMod() string { return "module " + m.Path + "\n\ngo 1.20\n" }

// GoMod returns the go.mod that is logged and served.
func (m Module) GoMod() []byte {
	switch {
	case m.Mod != "":
		return []byte(m.Mod)
	case strings.HasSuffix(m.V, "+incompatible"):
		return []byte("module " + m.Path + "\n")
	}
	return []byte(m.zipMod())
}

// Record returns the record of the module.
func (m Module) Record() []byte {
	files := m.files()
	prefix := m.Path + "@" + m.V + "/"
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, prefix+name)
	}
	return fmt.Appendf(nil, "%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", m.Path, m.V,
		h1(names, func(name string) string { return files[strings.TrimPrefix(name, prefix)] }),
		h1([]string{"go.mod"}, func(string) string { return string(m.GoMod()) }))
}

func h1(names []string, content func(string) string) string {
	h, err := dirhash.Hash1(names, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content(name))), nil
	})
	must(err)
	return h
}

// Zip returns the zip of the module.
func (m Module) Zip() []byte {
	files := m.files()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := w.Create(m.Path + "@" + m.V + "/" + name)
		must(err)
		_, err = io.WriteString(f, files[name])
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

// An Origin is what a .info says of where a module version came from.
type Origin struct {
	VCS  string
	URL  string
	Hash string
	Ref  string
}

// SetOrigin adds an origin to the .info of a module version.
func (a *Authority) SetOrigin(m Module, o Origin) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.origins[m.Version()] = o
}

// info returns the .info of a module version.
func (a *Authority) info(m module.Version) []byte {
	i := struct {
		Version string
		Time    time.Time
		Origin  *Origin `json:",omitempty"`
	}{Version: m.Version, Time: Time}
	if o, ok := a.origins[m]; ok {
		i.Origin = &o
	}
	data, err := json.Marshal(i)
	must(err)
	return data
}
