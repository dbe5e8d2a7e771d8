// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"example.org/sumlog/internal/durable"
)

// A mark says which state the database is in.
type mark struct {
	id         string // of the witness's state, random
	generation int64
	digest     digest
}

// A guard is the file that has the newest mark. It consists of two slots, which
// are written in turn, so that a crash in the middle of a write leaves the mark
// before it. Both were allocated when the guard was made: writing one needs no
// space on the disk and no change of the file system's own data. A slot is text,
// filled up with zeros:
//
//	sumlog witness guard v1
//	ID
//	GENERATION
//	DIGEST
//	SHA-256 of all lines before
//
// hashes in base64. The second slot of a new guard is empty.
type guard struct {
	f    *os.File // locked
	mark mark
}

const (
	guardHeader = "sumlog witness guard v1"
	slotSize    = 512
	slotEvery   = 4096 // apart, so that no write of one touches a page of the other
)

var errSlot = errors.New("not a slot of a guard")

func (m mark) slot() []byte {
	text := fmt.Sprintf("%s\n%s\n%d\n%s\n", guardHeader, m.id, m.generation, base64.StdEncoding.EncodeToString(m.digest[:]))
	sum := sha256.Sum256([]byte(text))
	b := make([]byte, slotSize)
	copy(b, text+base64.StdEncoding.EncodeToString(sum[:])+"\n")
	return b
}

func parseSlot(b []byte) (mark, error) {
	if len(b) != slotSize {
		return mark{}, errSlot
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	lines := strings.Split(string(text), "\n")
	if len(lines) != 6 || lines[0] != guardHeader || len(lines[1]) > 64 {
		return mark{}, errSlot
	}
	generation, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil || generation < 0 {
		return mark{}, errSlot
	}
	d, err := base64.StdEncoding.DecodeString(lines[3])
	if err != nil || len(d) != len(digest{}) {
		return mark{}, errSlot
	}
	m := mark{lines[1], generation, digest(d)}
	if !bytes.Equal(m.slot(), b) {
		return mark{}, errSlot
	}
	return m, nil
}

// parseGuard returns the newest mark of a guard's content. A slot that does not
// parse is one whose write a crash has cut off.
func parseGuard(b []byte) (mark, error) {
	if len(b) != 2*slotEvery {
		return mark{}, fmt.Errorf("guard: %d bytes, not %d", len(b), 2*slotEvery)
	}
	even, errEven := parseSlot(b[:slotSize])
	odd, errOdd := parseSlot(b[slotEvery:][:slotSize])
	switch {
	case errEven != nil && errOdd != nil:
		return mark{}, errors.New("guard: no whole slot")
	case errEven != nil:
		return odd, nil
	case errOdd != nil:
		return even, nil
	case even.id != odd.id || even.generation&1 != 0 || odd.generation&1 != 1:
		return mark{}, errors.New("guard: slots of different guards")
	case even.generation > odd.generation:
		return even, nil
	}
	return odd, nil
}

// createGuard makes the guard of a new state.
func createGuard(path string, m mark) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.WriteFile(root, filepath.Base(path), append(m.slot(), make([]byte, 2*slotEvery-slotSize)...), 0o644)
}

// openGuard opens and locks the guard at path.
func openGuard(path string) (*guard, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no guard: %w", ErrUnsafe, err)
	}
	if err != nil {
		return nil, err
	}
	m, err := lockAndRead(f)
	if err != nil {
		f.Close()
		if errors.Is(err, durable.ErrLocked) {
			return nil, fmt.Errorf("guard %s: %w", path, err)
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrUnsafe, path, err)
	}
	return &guard{f, m}, nil
}

// lockAndRead takes the lock of a guard and reads it. The lock of the directory
// is not enough for a guard that is kept elsewhere: a copy of the directory names
// the same guard, and two processes that raise one guard by turns would each find
// it plausible. The lock is the file's own and not one of its name, of which a
// file can have several.
func lockAndRead(f *os.File) (mark, error) {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return mark{}, durable.ErrLocked
		}
		return mark{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 2*slotEvery+1))
	if err != nil {
		return mark{}, err
	}
	return parseGuard(b)
}

// write makes m the newest mark, durably. It goes over the older slot.
func (g *guard) write(m mark) error {
	if _, err := g.f.WriteAt(m.slot(), m.generation&1*slotEvery); err != nil {
		return err
	}
	for {
		err := syscall.Fdatasync(int(g.f.Fd()))
		if err == nil {
			g.mark = m
			return nil
		}
		if err != syscall.EINTR {
			return &fs.PathError{Op: "fdatasync", Path: g.f.Name(), Err: err}
		}
	}
}

func (g *guard) close() error { return g.f.Close() }

// guardPath returns the path of the guard of dir.
func guardPath(dir, path string) string {
	if path == "" {
		return filepath.Join(dir, guardFile)
	}
	return path
}
