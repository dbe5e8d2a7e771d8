// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package derived

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"example.org/sumlog/internal/modzip"
)

// TestZipMemory has zips of 32 MB that are nothing but directory, each in a process of
// its own, whose heap then says what it was at most: as many as records are checked
// at the same time are read at the same time.
func TestZipMemory(t *testing.T) {
	const most = 64 << 20
	kinds := map[string]struct {
		n    int
		name func(i int) string
	}{
		"one name":    {690_000, func(int) string { return "x" }},
		"a module's":  {430_000, func(i int) string { return fmt.Sprintf("%s%07d", zipRoot, i) }},
		"no module's": {430_000, func(i int) string { return fmt.Sprintf("example.com/b@v1.0.0/%07d", i) }},
	}
	kind, found := kinds[os.Getenv("HOSTILE_ZIP")]
	if !found {
		for name := range kinds {
			if name != "one name" && os.Getenv("CI") != "true" {
				continue
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestZipMemory$", "-test.v")
			cmd.Env = append(os.Environ(), "HOSTILE_ZIP="+name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
		return
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "hostile.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	size := 0
	entry := make([]byte, 46)
	copy(entry, "PK\x01\x02")
	for i := range kind.n {
		name := kind.name(i)
		binary.LittleEndian.PutUint16(entry[28:], uint16(len(name)))
		w.Write(entry)
		io.WriteString(w, name)
		size += len(entry) + len(name)
	}
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], uint16(kind.n))
	binary.LittleEndian.PutUint16(end[10:], uint16(kind.n))
	binary.LittleEndian.PutUint32(end[12:], uint32(size))
	w.Write(end)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := scanZip(t.Context(), f, int64(size+len(end)), zipModule); !errors.As(err, new(*modzip.Error)) {
		t.Errorf("error %v", err)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("directory of %d bytes: heap of %d", size, mem.HeapSys)
	if mem.HeapSys > most {
		t.Errorf("heap of %d bytes", mem.HeapSys)
	}
}
