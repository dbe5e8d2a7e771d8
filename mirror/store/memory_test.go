// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package store_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/testrace"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/store"
)

// maxHeap is what a hostile zip may cost.
const maxHeap = 64 << 20

// hostile are directories, the first three of 32 MB, by the name of the nth file.
var hostile = map[string]struct {
	n    int
	name func(i int) string
}{
	"no module's": {690_000, func(i int) string { return "x" }},
	"a module's":  {430_000, func(i int) string { return fmt.Sprintf("example.com/a@v1.0.0/%07d", i) }},
	"in capitals": {430_000, func(i int) string { return fmt.Sprintf("example.com/a@v1.0.0/É%05d", i) }},
	"deep":        {250, func(i int) string { return fmt.Sprintf("example.com/a@v1.0.0/%05d", i) + strings.Repeat("/x", 8000) }},
}

// TestDirectoryMemory has zips that are nothing but directory, each in a process
// of its own, whose heap then says what it was at most.
func TestDirectoryMemory(t *testing.T) {
	if kind := os.Getenv("HOSTILE_DIRECTORY"); kind != "" {
		hostileDirectory(t, kind)
		return
	}
	kinds := []string{"no module's", "deep"}
	if os.Getenv("CI") == "true" && !testrace.Enabled {
		kinds = slices.Collect(maps.Keys(hostile))
	}
	for _, kind := range kinds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDirectoryMemory$", "-test.v")
		cmd.Env = append(os.Environ(), "HOSTILE_DIRECTORY="+kind)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, out)
		}
	}
}

func hostileDirectory(t *testing.T, kind string) {
	s := open(t, t.TempDir())
	m := module.Version{Path: "example.com/a", Version: "v1.0.0"}
	z, err := s.NewZip(m)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(z, 1<<20)
	h := hostile[kind]
	size := 0
	entry := make([]byte, 46)
	copy(entry, "PK\x01\x02")
	for i := range h.n {
		name := h.name(i)
		binary.LittleEndian.PutUint16(entry[28:], uint16(len(name)))
		w.Write(entry)
		io.WriteString(w, name)
		size += len(entry) + len(name)
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], uint16(h.n))
	binary.LittleEndian.PutUint16(end[10:], uint16(h.n))
	binary.LittleEndian.PutUint32(end[12:], uint32(size))
	w.Write(end)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.PutZip(t.Context(), log.Record{Module: m, Zip: "h1:"}, z); !errors.As(err, new(*store.BadZipError)) {
		t.Errorf("PutZip: %v", err)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("directory of %d bytes: heap of %d", size, mem.HeapSys)
	if mem.HeapSys > maxHeap {
		t.Errorf("heap of %d bytes", mem.HeapSys)
	}
}
