// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A traceCall is a system call of strace's output, its strings decoded.
type traceCall struct {
	name string
	args []string
	ret  string // "" if it did not return
}

// A traceEvent is the begin or the end of a call.
type traceEvent struct {
	call  *traceCall
	begin bool
}

var (
	traceLine = regexp.MustCompile(`^(\d+) +(?:<\.\.\. \w+ resumed>|(\w+)\()(.*?)(?: <unfinished \.\.\.>|\) += (.*))$`)
	traceHex  = regexp.MustCompile(`(\\x[0-9a-f]{2})+`)
)

// parseTrace parses what strace -f -qq -xx -y wrote. With -xx all strings and
// paths are hex, so that commas and parentheses are only strace's own.
func parseTrace(t testing.TB, trace string) (events []traceEvent) {
	t.Helper()
	open := make(map[string]*traceCall) // by thread
	for line := range strings.Lines(trace) {
		m := traceLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			if strings.Contains(line, "--- SIG") || strings.Contains(line, "+++ ") || strings.Contains(line, " ???(") {
				continue
			}
			t.Fatalf("not a line of strace: %s", line)
		}
		thread, name, args, ret := m[1], m[2], m[3], m[4]
		call := open[thread]
		if name != "" {
			call = &traceCall{name: name}
			events = append(events, traceEvent{call, true})
		}
		if args != "" {
			for arg := range strings.SplitSeq(args, ", ") {
				call.args = append(call.args, traceHex.ReplaceAllStringFunc(arg, unhex))
			}
		}
		open[thread] = call
		if ret != "" && !strings.HasPrefix(ret, "?") {
			call.ret = ret
			events = append(events, traceEvent{call, false})
			delete(open, thread)
		}
	}
	return events
}

func unhex(s string) string {
	var b []byte
	for i := 0; i < len(s); i += 4 {
		c, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
		b = append(b, byte(c))
	}
	return string(b)
}

func (c *traceCall) String() string {
	return fmt.Sprintf("%s(%.300q) = %s", c.name, c.args, c.ret)
}

// text returns a string argument.
func (c *traceCall) text(i int) string {
	return strings.TrimSuffix(strings.TrimPrefix(c.args[i], `"`), `"`)
}

// number returns an argument in decimal or octal.
func (c *traceCall) number(i int) int64 {
	n, _ := strconv.ParseInt(c.args[i], 0, 64)
	return n
}

// fd returns an argument's descriptor, of 3<PATH>.
func (c *traceCall) fd(i int) int {
	fd, _, _ := strings.Cut(c.args[i], "<")
	n, err := strconv.Atoi(fd)
	if err != nil {
		return -1
	}
	return n
}

// path returns an argument's path, of 3<PATH>.
func (c *traceCall) path(i int) string {
	_, path, _ := strings.Cut(c.args[i], "<")
	return strings.TrimSuffix(path, ">")
}

// join returns the path that a directory and a name below it make.
func (c *traceCall) join(i int) string {
	if name := c.text(i + 1); filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(c.path(i), c.text(i+1))
}

// matters reports whether the call changes something below base, or tells.
func (c *traceCall) matters(base string) bool {
	if c.name == "write" && c.fd(0) == 1 {
		return true
	}
	return strings.Contains(strings.Join(c.args, " "), base) && (c.name != "openat" || strings.Contains(c.args[2], "O_CREAT"))
}

// readInode reads a directory of the real file system.
func readInode(t testing.TB, path string) *inode {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	ino := newInode(fi.IsDir())
	if !fi.IsDir() {
		if ino.now.data, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		return ino
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ino.now.names[e.Name()] = readInode(t, filepath.Join(path, e.Name()))
	}
	return ino
}

// same reports whether two inodes look the same now.
func (ino *inode) same(other *inode) bool {
	return bytes.Equal(ino.now.data, other.now.data) &&
		(ino.now.names == nil) == (other.now.names == nil) &&
		maps.EqualFunc(ino.now.names, other.now.names, (*inode).same)
}

// clone copies ino and all below it. Data is never changed in place.
func (ino *inode) clone(done map[*inode]*inode) *inode {
	if c, ok := done[ino]; ok || ino == nil {
		return c
	}
	c := &inode{now: ino.now, kept: ino.kept, pending: slices.Clone(ino.pending)}
	done[ino] = c
	for _, names := range []*map[string]*inode{&c.now.names, &c.kept.names} {
		*names = maps.Clone(*names)
		for name, child := range *names {
			(*names)[name] = child.clone(done)
		}
	}
	for i := range c.pending {
		c.pending[i].ino = c.pending[i].ino.clone(done)
	}
	return c
}

// list lists the files below ino with their lengths.
func (ino *inode) list(path string) (files []string) {
	if ino.now.names == nil {
		return []string{fmt.Sprintf("%s:%d", path, len(ino.now.data))}
	}
	for _, name := range slices.Sorted(maps.Keys(ino.now.names)) {
		files = append(files, ino.now.names[name].list(path+"/"+name)...)
	}
	return files
}
