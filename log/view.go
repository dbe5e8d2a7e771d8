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
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"example.org/sumlog/internal/checkpoint"
)

// A View reads a directory in which nobody works, or another process does: a data
// directory, a copy of one, or a backup. It reads the key for its public part, and
// keeps no other. It writes nothing there, takes no lock, asks
// for no guard, and follows what is published. All methods but Follow and Close may
// be called concurrently.
type View struct {
	Reader

	// Owned by Follow.
	seen stamps
	last *Publication // as it is in the archive
}

// A ViewConfig says what to read.
type ViewConfig struct {
	Dir    string       // a data directory, a copy of one, or a backup
	Logger *slog.Logger // nil discards
}

// OpenView opens a directory to be read alone. What its archive ends at must be
// there: the right edge of the tree is compared with its root, as at every start,
// and each file that is read later is not ([ErrUnsafe]).
func OpenView(c ViewConfig) (*View, error) {
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, err
	}
	v := &View{Reader: Reader{root: root, tree: tree{dir: filepath.Join(c.Dir, treeDir)}, logger: c.Logger, tiles: newTileCache()}}
	if v.logger == nil {
		v.logger = slog.New(slog.DiscardHandler)
	}
	if err := v.open(); err != nil {
		root.Close()
		return nil, err
	}
	return v, nil
}

func (v *View) open() error {
	s, err := readKey(v.root)
	if err != nil {
		return err
	}
	v.id = s.identity // and not what signs
	if isMarked(v.root) {
		v.tree.whole = new(atomic.Int64)
	}
	p, _, err := v.look()
	if err != nil {
		return unsafeState(err)
	}
	v.published.Store(p)
	v.shown.Store(v.archived.Load().size.Load())
	return nil
}

// Close ends the reading. What is being served may fail.
func (v *View) Close() error {
	if a := v.archived.Load(); a != nil {
		a.f.Close()
	}
	return v.root.Close()
}

// followPause is the time between two looks for what is new.
const followPause = 300 * time.Millisecond

// Follow shows what is published from now on, after it has told names of it, until
// ctx ends or what is there contradicts what was shown: then its error is
// [ErrUnsafe]. What cannot be read just now, or is not whole yet, as while a copy is
// brought up to date, is looked at again, and what was shown stays.
func (v *View) Follow(ctx context.Context, names Names) error {
	said := ""
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := v.follow(names)
		if isUnsafe(err) {
			return err
		}
		if err == nil {
			said = ""
		} else if text := err.Error(); text != said {
			said = text
			v.logger.Warn("what is new cannot be read yet, what is older is served", "err", err)
		}
	}
}

func (v *View) follow(names Names) error {
	p, news, err := v.look()
	if err != nil || !news {
		return err
	}
	if err := names.Publish(p); err != nil {
		v.seen = stamps{} // to look again
		return fmt.Errorf("index: %w", err)
	}
	v.published.Store(p)
	v.shown.Store(v.archived.Load().size.Load())
	return nil
}

// A stamps tells whether files were changed.
type stamps [3]os.FileInfo

func (s stamps) differ(t stamps) bool {
	for i, a := range s {
		b := t[i]
		if (a == nil) != (b == nil) || a != nil && (!os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())) {
			return true
		}
	}
	return false
}

// look returns the newest publication, and whether anything is new.
func (v *View) look() (p *Publication, news bool, err error) {
	var now stamps
	for i, name := range []string{archiveFile, markFile, cosignedFile} {
		if now[i], err = v.root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
	}
	if v.last != nil && !v.seen.differ(now) {
		return nil, false, nil
	}
	a, err := openArchive(v.root, v.id, os.O_RDONLY)
	if err != nil {
		return nil, false, err
	}
	if err := v.take(a); err != nil {
		a.f.Close()
		return nil, false, err
	}
	v.seen = now
	return v.last.with(v.cosigned()), true, nil
}

// take makes a the archive that is read, if it goes on from the one before.
func (v *View) take(a *archive) error {
	last := a.last.Load()
	if v.tree.whole != nil {
		// After the archive, before which a Backup at work writes the mark.
		m, err := readMark(v.root)
		if err != nil {
			return err
		}
		if m.name != v.Name() || m.tree.N < last.Size {
			return fmt.Errorf("%s: %w: it is not that of this archive", markFile, errRotten)
		}
		v.tree.whole.Store(m.tree.N)
	}
	if err := v.continues(a); err != nil {
		return err
	}
	if err := v.tree.checkEdge(last.Size, last.Root); err != nil {
		return err
	}
	// The one before is not closed: somebody may be reading it, and its file ends
	// with the last of them.
	v.archived.Store(a)
	v.last = last
	return nil
}

// continues reports why a is not the continuation of the archive that was read
// before: what was shown once stays true.
func (v *View) continues(a *archive) error {
	if v.last == nil {
		return nil
	}
	last := a.last.Load()
	if last.Size < v.last.Size {
		return fmt.Errorf("%w: the archive ends at size %d, and size %d was shown: an older copy was put here", ErrUnsafe, last.Size, v.last.Size)
	}
	has, err := a.hasLine(v.last, v.archived.Load().size.Load())
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("%w: the archive is not the one that was read before, which ended at size %d", ErrUnsafe, v.last.Size)
	}
	root, err := v.tree.root(v.last.Size, last.Size)
	if err != nil {
		return err
	}
	if root != v.last.Root {
		return fmt.Errorf("the tiles do not give the root that was shown at size %d: %w", v.last.Size, errRotten)
	}
	return nil
}

// cosigned returns the newest publication's checkpoint with late cosignatures, nil
// if there are none for it.
func (v *View) cosigned() []byte {
	f, err := v.root.Open(cosignedFile)
	if err != nil {
		return nil
	}
	defer f.Close()
	note, err := io.ReadAll(io.LimitReader(f, checkpoint.MaxNote+1))
	if err != nil {
		return nil
	}
	if _, err := checkpoint.ParseNote(note); err != nil {
		return nil
	}
	if _, err := v.id.openNotes(note, v.last.TreeHead); err != nil {
		return nil
	}
	return note
}

// with returns p with a checkpoint that has more cosignatures, nil for none.
func (p *Publication) with(note []byte) *Publication {
	if note == nil || !sameText(note, p.Checkpoint) {
		return p
	}
	more := *p
	more.Checkpoint = note
	return &more
}
