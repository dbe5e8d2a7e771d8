// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log/quorum"
)

// A NoGuardError is the [ErrUnsafe] of a directory whose guard is missing or
// damaged: without it nothing tells whether this is the newest copy of the log.
type NoGuardError struct {
	Path string
	Err  error
}

func (e *NoGuardError) Error() string {
	what := "damaged"
	if errors.Is(e.Err, fs.ErrNotExist) {
		what = "missing"
	}
	return fmt.Sprintf("%v: the guard %s is %s: without it nothing tells whether this is the newest copy of the log", ErrUnsafe, e.Path, what)
}

func (e *NoGuardError) Unwrap() []error { return []error{ErrUnsafe, e.Err} }

// needGuard is readGuard for a directory that cannot be used without its guard.
func needGuard(path string) (*guard, error) {
	g, err := readGuard(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errRotten) {
		return nil, &NoGuardError{path, err}
	}
	return g, unsafeState(err)
}

// ErrGuardThere says that there is a guard that can be read.
var ErrGuardThere = errors.New("there is a guard, and it can be read")

// A RenewConfig says what [RenewGuard] works with.
type RenewConfig struct {
	Config // of the log; its Interval and Auditors are not used

	// Others are further places where a guard of this log may be, such as the one
	// that the settings name. What one of them has seen counts.
	Others []string

	// Progress is told how many of the tree's files are checked. Nil is fine.
	Progress func(done, total int64)

	// Confirm is asked last. Its error ends it, and nothing is changed.
	Confirm func(Renewal) error
}

// A Renewal is what was found out before a guard is made again.
type Renewal struct {
	Name       string
	Newest     *Publication
	Integrated int64         // that the guard will know; entries beyond Newest may have been signed
	Damaged    bool          // there is a guard, and it is damaged
	Witnesses  []quorum.Seen // what they show, nothing newer than the directory
	Kept       int           // signed notes beside the archive, nothing newer either
	Unread     []string      // files beside the archive that are no such notes, and other guards that are damaged
}

// RenewGuard makes the guard of a log again, of a directory that is whole. A guard
// that can be read is never replaced, whatever it says.
//
// The guard is what tells the newest copy of a directory from an older one, so
// without it the copy could be an older one. What can be known is looked at: every
// tile and bundle, from the entries to the root; every line of the archive, with its
// signatures and against the tree; what witnesses show; what auditors cosigned, as
// far as it was kept here; other guards. What the log's key has signed and is not in
// this directory refuses ([ErrUnsafe]). What nobody here can know is asked of
// [RenewConfig.Confirm].
//
// The new guard is that of all entries that the directory has: whatever was signed
// here was signed of a beginning of these. It is written as every guard is; a crash
// leaves it there, or leaves all as it was.
func RenewGuard(ctx context.Context, c RenewConfig) (Renewal, error) {
	root, err := openRoot(c.Dir)
	if err != nil {
		return Renewal{}, err
	}
	l := newLog(c.Config, root)
	defer l.Close()
	defer context.AfterFunc(ctx, l.stop)()
	r := renewer{Log: l, c: c}
	err = r.renew(ctx)
	return r.found, err
}

// A renewer makes the guard of its log.
type renewer struct {
	*Log
	c     RenewConfig
	found Renewal
}

func (r *renewer) renew(ctx context.Context) error {
	// Whoever types a size after an hour of checks should not learn of it then.
	if _, err := os.Stat(filepath.Dir(r.guardPath)); err != nil {
		return fmt.Errorf("guard %s: its directory cannot be used, is its disk mounted? %v", r.guardPath, err)
	}
	if err := r.lock(r.c.Guard); err != nil {
		return err
	}
	if err := r.absent(); err != nil {
		return err
	}
	if err := r.check(ctx); err != nil {
		return unsafeState(err)
	}
	if err := r.holdPlaces(); err != nil {
		return err
	}
	if err := r.askOthers(); err != nil {
		return err
	}
	if err := r.askKept(); err != nil {
		return err
	}
	if err := r.askWitnesses(); err != nil {
		return err
	}
	if err := r.c.Confirm(r.found); err != nil {
		return err
	}
	// A person may have taken hours to answer.
	if err := errors.Join(r.absent(), r.heldPlaces(), ctx.Err()); err != nil {
		return err
	}
	return r.guard.write(r.guardPath)
}

// absent refuses a guard that is there and can be read.
func (r *renewer) absent() error {
	g, err := readGuard(r.guardPath)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s has seen size %d of %s", ErrGuardThere, r.guardPath, g.tree.N, g.name)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errRotten):
		r.found.Damaged = true
		return nil
	}
	return fmt.Errorf("guard: neither missing nor damaged, and it cannot be read: %w", err)
}

// check does every check of a start, and those of all files, and makes the guard.
func (r *renewer) check(ctx context.Context) (err error) {
	if err := r.openKey(); err != nil {
		return err
	}
	if err := r.openArchive(os.O_RDONLY); err != nil {
		return err
	}
	t, err := r.tree.state()
	if err != nil {
		return err
	}
	last := r.archive.last.Load()
	r.found.Name, r.found.Newest, r.found.Integrated = r.Name(), last, t.N
	if r.found.Damaged {
		if err := r.notClaimed(r.guardPath); err != nil {
			return err
		}
	}
	nodes, err := r.whole(ctx, t)
	if err != nil {
		return err
	}
	if r.guard, err = newGuard(r.Name(), last.Size, nodes); err != nil {
		return err
	}
	if r.guard.tree != t {
		return fmt.Errorf("%w: at size %d the entries give the root %v, Tessera %v", ErrUnsafe, t.N, r.guard.tree.Hash, t.Hash)
	}
	if err := r.agree(); err != nil {
		return err
	}
	// The guard must not know what a power loss could still take.
	if err := r.archive.f.Sync(); err != nil {
		return err
	}
	return r.syncState()
}

// notClaimed refuses a directory that has less than the text of a damaged guard says.
func (r *renewer) notClaimed(path string) error {
	if n := claimed(path, r.Name()); n > r.found.Integrated {
		return fmt.Errorf("%w: the guard %s is damaged, and its text says that size %d was signed, where this directory has %d: this is an older copy, or the damage is in that number",
			ErrUnsafe, path, n, r.found.Integrated)
	}
	return nil
}

// claimed returns the size that the text of a damaged guard of this log speaks of, 0
// if none.
func claimed(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxGuard))
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 3 || lines[0] != guardHeader || lines[1] != name {
		return 0
	}
	n, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// whole compares everything that is on disk of the tree t: each entry with its leaf
// hash, each tile with the one above it, each line of the archive with the tree that
// the entries give at its size. It returns the compact range of t.
func (r *renewer) whole(ctx context.Context, t tlog.Tree) (*compact.Range, error) {
	var done, total int64
	for level := range maxLevel + 1 {
		total += (t.N>>(8*level) + tileWidth - 1) / tileWidth
	}
	step := func() error {
		if done++; r.c.Progress != nil {
			r.c.Progress(done, total)
		}
		return ctx.Err()
	}
	v := verifier{
		lines: r.signer, nodes: rangeFactory.NewEmptyRange(0), last: &Publication{Size: -1},
		leaves: leafReader{tree: r.tree, size: t.N, bundle: -1, step: step},
	}
	if err := v.verify(r.archive.lines(-1, r.archive.size.Load())); err != nil {
		return nil, err
	}
	if err := v.leaves.extend(v.nodes, t.N); err != nil {
		return nil, err
	}
	for level := 1; t.N>>(8*level) > 0; level++ {
		for n := int64(0); width(level, n, t.N) > 0; n++ {
			tile, err := r.tree.hashTile(level, n, width(level, n, t.N), t.N)
			if err == nil {
				err = r.tree.checkChildren(level, n, tile, 0, t.N)
			}
			if err != nil {
				return nil, err
			}
			if err := step(); err != nil {
				return nil, err
			}
		}
	}
	return v.nodes, nil
}

// askOthers compares guards of this log in other places, which stay locked.
func (r *renewer) askOthers() error {
	for _, other := range r.c.Others {
		g, err := readGuard(other)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, errRotten):
			if err := r.notClaimed(other); err != nil {
				return err
			}
			r.found.Unread = append(r.found.Unread, other)
			continue
		case err != nil:
			return fmt.Errorf("the guard %s may know of more, and cannot be read: %w", other, err)
		case g.name != r.Name():
			continue // it knows nothing of this log
		}
		if other != filepath.Join(r.root.Name(), guardFile) {
			unlock, err := lockGuard(other)
			if err != nil {
				return err
			}
			r.unlock = append(r.unlock, unlock)
		}
		err = r.remembers(g.tree)
		if errors.Is(err, ErrAhead) {
			return fmt.Errorf("%w: the guard %s has seen size %d signed, and it is not in this directory, which has %d: this is an older copy, or one of two that grew",
				ErrUnsafe, other, g.tree.N, r.guard.tree.N)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// askKept compares what auditors cosigned, and what came late from witnesses, as far
// as it was kept beside the archive: all of it has the log's own signature.
func (r *renewer) askKept() error {
	names := []string{cosignedFile}
	entries, err := fs.ReadDir(r.root.FS(), auditedDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), durable.TempPrefix) {
			names = append(names, path.Join(auditedDir, e.Name()))
		}
	}
	for _, name := range names {
		note, err := readNote(r.root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var t tlog.Tree
		if err == nil {
			t, err = r.signer.openCheckpoint(note)
		}
		if err != nil {
			r.found.Unread = append(r.found.Unread, name)
			continue
		}
		if err := r.remembers(t); errors.Is(err, ErrAhead) {
			return r.contradicted("file "+name, note, r.archive.last.Load().Checkpoint)
		} else if err != nil {
			return err
		}
		r.found.Kept++
	}
	return nil
}

func readNote(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, checkpoint.MaxNote))
}

// askWitnesses asks for what they have seen. They are asked again before the next
// signature; here it is for the one who decides.
func (r *renewer) askWitnesses() (err error) {
	if r.witnesses != nil {
		r.found.Witnesses, err = r.ask()
	}
	return err
}
