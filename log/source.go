// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/durable"
)

// A source is a directory that is copied: a data directory, in which a server may
// be working, or a backup.
type source struct {
	root    *os.Root
	signer  *signer
	marked  bool // it is a backup
	tree    tree
	archive *archive
	at      tlog.Tree // what the archive ends at
}

// openSource opens the directory dir as of its newest publication. The guard says
// what a data directory must have at least; a backup has none.
func openSource(dir, guard string) (*source, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	s := &source{root: root, tree: tree{dir: filepath.Join(dir, treeDir)}}
	if err := s.open(guard); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) open(guardPath string) (err error) {
	if s.signer, err = readKey(s.root); err != nil {
		return err
	}
	var g *guard
	if s.marked = isMarked(s.root); !s.marked {
		// Before the archive, which a server may be extending: so the archive has
		// at least what this guard saw published.
		if g, err = sourceGuard(s.root, guardPath, s.signer.signer.Name()); err != nil {
			return err
		}
	}
	s.archive, err = openArchive(s.root, s.signer, os.O_RDONLY)
	if s.marked && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: this backup was cut off before it was whole for the first time", ErrUnsafe)
	}
	if err != nil {
		return unsafeState(err)
	}
	last := s.archive.last.Load()
	s.at = tlog.Tree{N: last.Size, Hash: last.Root}
	if !s.marked {
		return unsafeState(s.tree.follows(s.at.N, g))
	}
	// After the archive, before which a Backup at work extends it.
	m, err := readMark(s.root)
	if err != nil {
		return unsafeState(err)
	}
	if m.name != s.signer.signer.Name() {
		return fmt.Errorf("%w: %s is of the log %s, the key of %s", ErrUnsafe, markFile, m.name, s.signer.signer.Name())
	}
	s.tree = m.tiles(s.tree.dir)
	return unsafeState(s.tree.agrees(s.at, m))
}

// agrees reports why the tiles of a backup are not those of the tree that its
// archive ends at.
func (t tree) agrees(at tlog.Tree, m mark) error {
	if at.N > m.tree.N {
		return fmt.Errorf("%w: the archive ends at size %d, and the tiles at %d: another archive was put here", ErrUnsafe, at.N, m.tree.N)
	}
	if root, err := t.root(at.N, at.N); err != nil || root != at.Hash {
		return errors.Join(err, fmt.Errorf("%w: the tiles at size %d do not give the published root", ErrUnsafe, at.N))
	}
	return nil
}

func (s *source) close() {
	if s.archive != nil {
		s.archive.f.Close()
	}
	s.root.Close()
}

// verifyArchive verifies the lines that s has beyond those of have, nil for none:
// their form, both notes, and that their roots are those of the tree at their
// sizes, which the entries give.
func (s *source) verifyArchive(ctx context.Context, have *archive) error {
	var from int64
	v := verifier{
		lines: s.signer, nodes: rangeFactory.NewEmptyRange(0), last: &Publication{Size: -1},
		leaves: leafReader{tree: s.tree, size: s.at.N, bundle: -1, step: ctx.Err},
	}
	if have != nil {
		from, v.last = have.size.Load(), have.last.Load()
		has, err := s.archive.hasLine(v.last, from)
		if err != nil {
			return err
		}
		if !has {
			return fmt.Errorf("%w: the archive is not the continuation of the backup's, which ends at size %d", ErrUnsafe, v.last.Size)
		}
		if v.nodes, err = s.tree.compactRange(v.last.Size, s.at.N); err != nil {
			return err
		}
	}
	return v.verify(s.archive.between(from, s.archive.size.Load()))
}

// audited yields the files of auditors that are notes which this log signed.
func (s *source) audited() iter.Seq2[string, *auditedNote] {
	return func(yield func(string, *auditedNote) bool) {
		key, err := checkpoint.ParseKey(s.signer.vkey)
		if err != nil {
			return
		}
		files, _ := fs.ReadDir(s.root.FS(), auditedDir)
		for _, f := range files {
			if strings.HasPrefix(f.Name(), durable.TempPrefix) {
				continue
			}
			name := path.Join(auditedDir, f.Name())
			if n, err := readAudited(s.root, name, key); err == nil && !yield(name, n) {
				return
			}
		}
	}
}

// readAudited reads the checkpoint that an auditor cosigned, and this log signed.
func readAudited(root *os.Root, name string, key *checkpoint.Key) (*auditedNote, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, checkpoint.MaxNote+1))
	if err != nil {
		return nil, err
	}
	n, err := checkpoint.ParseNote(text)
	if err != nil {
		return nil, err
	}
	c, err := checkpoint.Parse(n.Text)
	if err != nil {
		return nil, err
	}
	if c.Origin != key.Name() {
		return nil, errors.New("of another log")
	}
	if _, err := n.Verify(key); err != nil {
		return nil, err
	}
	return &auditedNote{Checkpoint: c, note: text}, nil
}

// newestIn returns the newest publication of a directory that may be in use.
func newestIn(dir string) (*Publication, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	s, err := readKey(root)
	if err != nil {
		return nil, err
	}
	a, err := openArchive(root, s, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer a.f.Close()
	return a.last.Load(), nil
}

// sourceGuard returns the guard of the log that is copied.
func sourceGuard(root *os.Root, file, name string) (*guard, error) {
	if file == "" {
		file = filepath.Join(root.Name(), guardFile)
	}
	g, err := needGuard(file)
	if err != nil {
		return nil, err
	}
	if g.name != name {
		return nil, fmt.Errorf("%w: the guard %s belongs to the log %s, the key to %s", ErrUnsafe, file, g.name, name)
	}
	return g, nil
}

// follows reports why a log whose archive ends at size is older than its guard,
// or another one. A copy gets a new guard, and nothing would tell any more.
func (t tree) follows(size int64, g *guard) error {
	if size < g.archived {
		return fmt.Errorf("%w: the archive ends at size %d, and the guard saw size %d published: an older archive was put back", ErrUnsafe, size, g.archived)
	}
	if size < g.tree.N {
		return nil // signed, not yet published
	}
	root, err := t.root(g.tree.N, size)
	if err == nil && root != g.tree.Hash {
		err = fmt.Errorf("%w: the guard has seen another tree of size %d", ErrUnsafe, g.tree.N)
	}
	return err
}

// checkedTile returns the first w hashes of a tile after comparing those that a
// tree of size old does not have with what is below them: tiles or, of level 0, the
// entries of the bundle that it returns too.
func (t tree) checkedTile(level int, n int64, w int, old, size int64) (tile, bundle []byte, err error) {
	if level == 0 {
		bundle, tile, err = t.leaves(n, w, size)
		return tile, bundle, err
	}
	if tile, err = t.hashTile(level, n, w, size); err != nil {
		return nil, nil, err
	}
	return tile, nil, t.checkChildren(level, n, tile, old, size)
}

// checkChildren compares the hashes of a tile that are new since size old with the
// tiles they are the roots of.
func (t tree) checkChildren(level int, n int64, tile []byte, old, size int64) error {
	first := max(0, old>>(8*level)-n*tileWidth)
	for i := first; i < int64(len(tile)/tlog.HashSize); i++ {
		child, err := t.hashTile(level-1, n*tileWidth+i, tileWidth, size)
		if err != nil {
			return err
		}
		if !bytes.Equal(subtree(child), tile[i*tlog.HashSize:(i+1)*tlog.HashSize]) {
			return fmt.Errorf("tile/%d/%d is not the one that tile/%d/%d has the hash of: %w", level-1, n*tileWidth+i, level, n, errRotten)
		}
	}
	return nil
}
