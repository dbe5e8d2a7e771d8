// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/module"
)

// TestPowerLoss lets a child that strace watches create a log, fill it, be
// killed and go on, follows its system calls in a model of a file system, and
// cuts the power between any two of them. What is not synced may then be there,
// be missing, or be there in part: names as well as data, each for itself. From
// every such state the log must start, and hold all that was told before.
func TestPowerLoss(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v %s", err, out)
	}
	logs, states := 1, 60
	if thorough() {
		logs, states = 4, 120
	}
	r := newRand(t)
	tried := map[string]int{}
	for n := range logs {
		base := t.TempDir()
		h := newHistory(childConfig{Dir: filepath.Join(base, "new/folder/d")})
		if n%2 == 1 {
			h.Guard = filepath.Join(base, "guard")
		}
		var runs [][]traceEvent
		var ends []*inode
		for run := range 3 {
			runs = append(runs, h.traced(t, r, strace, run < 2))
			ends = append(ends, readInode(t, base))
		}
		// The same history again, now with the power cut on the way.
		p := &powerLoss{t: t, r: r, base: base, tried: tried, root: newInode(true), chance: 1}
		p.h = newHistory(h.childConfig)
		total := 0
		for _, e := range slices.Concat(runs...) {
			if !e.begin && e.call.matters(base) {
				total++
			}
		}
		p.chance = min(1, float64(states)/float64(total))
		for i, events := range runs {
			p.replay(events, ends[i])
		}
		if len(p.h.acks) != len(h.acks) || len(h.acks) == 0 {
			t.Errorf("the trace has %d acknowledgements of %d", len(p.h.acks), len(h.acks))
		}
	}
	t.Logf("states tried: %v", tried)
	for _, how := range []string{"nothing", "everything", "something"} {
		if tried[how] == 0 {
			t.Errorf("%s was never lost", how)
		}
	}
}

// traced runs a child under strace and returns what it did. It kills it in the
// middle, at any moment or where a thread is about to sync something, or lets it
// come to its end.
func (h *history) traced(t *testing.T, r *rand.Rand, strace string, kill bool) []traceEvent {
	t.Helper()
	c := h.childConfig
	c.Seed, c.From, c.Workers, c.Count = r.Uint64(), h.last+1+r.IntN(2), 2, 6
	file := filepath.Join(t.TempDir(), "trace")
	under := []string{strace, "-f", "-qq", "-xx", "-y", "-s", "1000000", "-o", file, "-e",
		"trace=open,creat,openat,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,fallocate,ftruncate,truncate," +
			"fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlinkat,fchmod,fchmodat"}
	if kill && r.IntN(2) == 0 {
		kill = false
		under = append(under, "-e", fmt.Sprintf("inject=fsync:signal=KILL:when=%d", 1+r.IntN(16)))
	}
	k := startChild(t, c, under...)
	acks, at := 0, 1+r.IntN(6)
	err := k.follow(t, h, func(word string) {
		if word == "ack" {
			acks++
		}
		if kill && acks == at {
			kill = false
			pid := h.pid
			time.AfterFunc(time.Duration(r.IntN(20_000))*time.Microsecond, func() { syscall.Kill(pid, syscall.SIGKILL) })
		}
	})
	if err != nil && err.Error() != "signal: killed" {
		t.Fatalf("child: %v\n%s", err, k.errs.Bytes())
	}
	trace, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parseTrace(t, string(trace))
}

// A powerLoss replays traces.
type powerLoss struct {
	t      *testing.T
	r      *rand.Rand
	h      *history // what was told so far
	base   string   // the directory that root stands for
	root   *inode
	sync   map[int]bool // descriptors with O_SYNC
	begun  map[*traceCall]int
	chance float64
	tried  map[string]int
}

// replay does a run's calls on the model. Those that the run's end cut off have
// happened or not: the directory that it left, end, tells.
func (p *powerLoss) replay(events []traceEvent, end *inode) {
	p.sync, p.begun = make(map[int]bool), make(map[*traceCall]int)
	open := make(map[*traceCall]bool)
	for _, e := range events {
		switch {
		case e.begin:
			p.begin(e.call)
			open[e.call] = true
		default:
			p.end(e.call)
			delete(open, e.call)
			created := e.call.name == "write" && e.call.text(1) == "created\n" // now or never
			if created || e.call.matters(p.base) && p.r.Float64() < p.chance {
				p.cut()
			}
		}
		if p.t.Failed() {
			p.t.Fatalf("after %s", e.call)
		}
	}
	cutOff := slices.DeleteFunc(slices.Collect(maps.Keys(open)), func(c *traceCall) bool { return strings.HasSuffix(c.name, "sync") })
	for subset := range 1 << min(len(cutOff), 10) {
		try := &powerLoss{t: p.t, base: p.base, root: p.root.clone(map[*inode]*inode{}), sync: p.sync}
		for i, c := range cutOff {
			if subset>>i&1 == 1 {
				c.ret = "0"
				try.end(c)
			}
		}
		if try.root.same(end) {
			p.root = try.root
			return
		}
	}
	p.t.Fatalf("the model is wrong: it has %v, the directory %v; cut off were %v", p.root.list(""), end.list(""), cutOff)
}

// begin notes what a call depends on when it begins: an acknowledgement is out,
// and a sync takes what was written before it.
func (p *powerLoss) begin(c *traceCall) {
	switch c.name {
	case "write":
		if c.fd(0) == 1 {
			for line := range strings.Lines(c.text(1)) {
				p.h.hear(p.t, strings.TrimSuffix(line, "\n"))
			}
		}
	case "fsync", "fdatasync":
		if ino := p.at(c.path(0)); ino != nil {
			p.begun[c] = len(ino.pending)
		}
	}
}

// end does a call that has succeeded.
func (p *powerLoss) end(c *traceCall) {
	if strings.HasPrefix(c.ret, "-1") {
		return
	}
	switch c.name {
	case "openat":
		p.openat(c)
	case "write", "pwrite64":
		ino := p.at(c.path(0))
		if ino == nil {
			return
		}
		off := int64(len(ino.now.data)) // nothing here seeks
		if c.name == "pwrite64" {
			off = c.number(3)
		}
		ino.change(change{off: off, data: []byte(c.text(1))})
		if p.sync[c.fd(0)] {
			if p.r != nil && p.r.Float64() < p.chance {
				p.cut() // within the write
			}
			ino.flush(len(ino.pending))
		}
	case "fsync", "fdatasync":
		if ino := p.at(c.path(0)); ino != nil {
			ino.flush(p.begun[c])
		}
	case "ftruncate":
		if ino := p.at(c.path(0)); ino != nil {
			ino.change(change{truncate: true, off: c.number(1)})
		}
	case "fchmod":
		if ino := p.at(c.path(0)); ino != nil {
			ino.change(change{mode: fs.FileMode(c.number(1))})
		}
	case "mkdirat":
		if dir, name := p.parent(c.join(0)); dir != nil {
			dir.change(change{name: name, ino: newInode(true)})
		}
	case "unlinkat":
		if dir, name := p.parent(c.join(0)); dir != nil {
			dir.change(change{name: name})
		}
	case "renameat":
		p.rename(c)
	default:
		if strings.Contains(c.String(), p.base) {
			p.t.Fatalf("the model has no %s", c)
		}
	}
}

func (p *powerLoss) openat(c *traceCall) {
	fd, _ := strconv.Atoi(strings.Split(c.ret, "<")[0])
	p.sync[fd] = strings.Contains(c.args[2], "O_SYNC")
	dir, name := p.parent(c.join(0))
	if dir == nil {
		return
	}
	if dir.now.names[name] == nil && strings.Contains(c.args[2], "O_CREAT") {
		ino := newInode(false)
		ino.now.mode = fs.FileMode(c.number(3))
		ino.kept.mode = ino.now.mode
		dir.change(change{name: name, ino: ino})
	}
	if strings.Contains(c.args[2], "O_TRUNC") {
		dir.now.names[name].change(change{truncate: true})
	}
}

func (p *powerLoss) rename(c *traceCall) {
	from, old := p.parent(c.join(0))
	to, name := p.parent(c.join(2))
	if from == nil && to == nil {
		return
	}
	if from != to {
		p.t.Fatalf("the model has no rename between directories: %s", c)
	}
	to.change(change{name: name, ino: from.now.names[old], from: old})
}

// at returns what is at path, nil if that is not below base.
func (p *powerLoss) at(path string) *inode {
	rel, err := filepath.Rel(p.base, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return nil
	}
	ino := p.root
	for name := range strings.SplitSeq(rel, "/") {
		if name != "." && ino != nil {
			ino = ino.now.names[name]
		}
	}
	return ino
}

func (p *powerLoss) parent(path string) (*inode, string) {
	if path == p.base {
		return nil, ""
	}
	return p.at(filepath.Dir(path)), filepath.Base(path)
}

// cut cuts the power: it makes directories that can be found after it, and
// recovers from them.
func (p *powerLoss) cut() {
	for how, choose := range map[string]func([]change) []change{
		"everything": func([]change) []change { return nil },
		"nothing":    func(c []change) []change { return c },
		"something":  p.some,
	} {
		if how != "everything" && p.r.IntN(2) == 0 { // the worst is tried most
			continue
		}
		dir := memoryDir(p.t)
		p.root.write(p.t, dir, choose)
		found := readInode(p.t, dir).list("")
		p.tried[how]++
		p.recover(dir)
		if p.t.Failed() {
			p.t.Logf("%s that was not synced was lost: %v", how, found)
		}
		os.RemoveAll(dir)
	}
}

// some chooses some of the changes, and of a write some of its sectors.
func (p *powerLoss) some(pending []change) []change {
	const sector = 512
	var out []change
	for _, c := range pending {
		for len(c.data) > 0 {
			n := min(sector-int(c.off%sector), len(c.data))
			if p.r.IntN(2) == 0 {
				out = append(out, change{off: c.off, data: c.data[:n]})
			}
			c.off, c.data = c.off+int64(n), c.data[n:]
		}
		if (c.truncate || c.mode != 0 || c.name != "") && p.r.IntN(2) == 0 {
			out = append(out, c)
		}
	}
	return out
}

// recover starts the log in a copy of base and holds it against what was told.
func (p *powerLoss) recover(base string) {
	t, h := p.t, p.h
	moved := func(path string) string {
		if path == "" {
			return ""
		}
		return base + strings.TrimPrefix(path, p.base)
	}
	c := Config{Dir: moved(h.Dir), Guard: moved(h.Guard), Auditors: auditorKeys(1)}
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) && !h.created {
		if _, err := Create(CreateConfig{Dir: c.Dir, Guard: c.Guard, Name: "sum.example.org/test"}); err != nil {
			t.Errorf("Create: %v", err)
		}
	}
	l, err := Open(c)
	if err != nil {
		t.Errorf("Open: %v", err)
		return
	}
	defer closeLog(t, l)
	names := &memNames{l: l, m: make(map[module.Version]Entry)}
	if err := errors.Join(names.Publish(l.Published()), l.Start(names)); err != nil {
		t.Errorf("Start: %v", err)
		return
	}
	h.compare(t, l, readTruth(t, l))
	if p.r.IntN(3) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := l.Append(ctx, record(h.last+1000)); err != nil {
		t.Errorf("Append: %v", err)
	}
}

// An inode is a file or directory as it is, and as it surely is after the power
// was cut.
type inode struct {
	now, kept content
	pending   []change // what makes now of kept
}

type content struct {
	names map[string]*inode // of a directory
	data  []byte            // of a file
	mode  fs.FileMode
}

// A change is a step that is found after the power was cut, or not: a name gets
// an inode (none: is removed) while from loses it, or data is written, or a file
// is cut off, or its mode changes.
type change struct {
	name     string
	ino      *inode
	from     string
	off      int64
	data     []byte
	truncate bool
	mode     fs.FileMode
}

func newInode(dir bool) *inode {
	if !dir {
		return &inode{}
	}
	return &inode{now: content{names: map[string]*inode{}}, kept: content{names: map[string]*inode{}}}
}

func (c *content) apply(ch change) {
	switch {
	case ch.name != "":
		delete(c.names, ch.from)
		delete(c.names, ch.name)
		if ch.ino != nil {
			c.names[ch.name] = ch.ino
		}
	case ch.mode != 0:
		c.mode = ch.mode
	default:
		end := ch.off + int64(len(ch.data))
		if grow := end - int64(len(c.data)); grow > 0 {
			c.data = append(c.data, make([]byte, grow)...)
		}
		if ch.truncate {
			c.data = c.data[:end]
		}
		c.data = slices.Clone(c.data) // the other content may share it
		copy(c.data[ch.off:], ch.data)
	}
}

func (ino *inode) change(c change) {
	ino.now.apply(c)
	ino.pending = append(ino.pending, c)
}

// flush makes the first n changes sure.
func (ino *inode) flush(n int) {
	for _, c := range ino.pending[:n] {
		ino.kept.apply(c)
	}
	ino.pending = slices.Clone(ino.pending[n:])
}

// after returns the content with only some of the pending changes.
func (ino *inode) after(choose func([]change) []change) content {
	c := ino.kept
	c.names = maps.Clone(c.names)
	for _, ch := range choose(ino.pending) {
		c.apply(ch)
	}
	return c
}

// write makes ino at path.
func (ino *inode) write(t testing.TB, path string, choose func([]change) []change) {
	c := ino.after(choose)
	if c.names == nil {
		if err := os.WriteFile(path, c.data, c.mode); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, child := range c.names {
		child.write(t, filepath.Join(path, name), choose)
	}
}
