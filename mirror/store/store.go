// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package store keeps the bytes of module versions.
//
// It is a plain GOPROXY file tree (https://go.dev/ref/mod#goproxy-protocol)
// below one directory, so that GOPROXY=file://DIR works without any server:
//
//	ESCAPED-PATH/@v/ESCAPED-VERSION.info   JSON, as upstream gave it
//	ESCAPED-PATH/@v/ESCAPED-VERSION.mod
//	ESCAPED-PATH/@v/ESCAPED-VERSION.zip
//	ESCAPED-PATH/@v/list                   logged versions, pseudo-versions too
//	.tmp/                                  files being made
//	.bad/                                  files that did not match their record
//
// No module path begins with a dot, so the last two clash with nothing.
//
// # What is checked
//
// The store trusts no bytes, its own included. A .mod and a .zip get their name
// only after their hashes were found to be those of a [log.Record]; a .info,
// which no hash covers, only as valid JSON that names exactly its version.
// The first time a process opens a file it checks the file again, and whenever
// the file is no longer the one it checked (device, inode, size or time of
// change differ): a file that rotted, or that somebody put there, is never
// handed out. It is moved to .bad, and not removed, because it may be the only
// copy there is; the caller is told [ErrDamaged], which is also
// [fs.ErrNotExist], and may fetch it again.
//
// Such a check may take seconds. It is made once for all who wait for it and ends
// with the last of them, and as many are made at a time as there are processors,
// of .mod and .info files, of zips that are checked in milliseconds and of others,
// for each of these alone: none of them is held up by larger files. A zip that is
// stored is read as package modzip does, at a bounded cost; with a directory of
// more than some ten thousand files it waits until no other such zip is read.
//
// # Who may read it
//
// The files of a private module have mode 0600, and the first directory below which
// all is private has 0700, as have .tmp and .bad; directories that are there already
// are closed when the store is opened. The rest is for everybody who may read the
// directory of the store: its names too, down to those that are closed.
//
// The .info and .mod of a version are put together, from one copy of the
// module; the zip is bound to them by the record.
//
// The store does not know what is logged. A version's files may be here before
// its entry is published, and after a crash without one; who serves them asks
// the log first. The lists name only what [Store.Publish] was told.
//
// # What a crash leaves
//
// Each file is written under .tmp, synced and renamed, so a final name always
// holds a whole, checked file. Left behind may be files in .tmp, which [Open]
// removes; a version with some of its files only; and a list without the
// version published last, which the next Publish of that version adds.
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/modzip"
	"example.org/sumlog/log"
	"example.org/sumlog/mirror/internal/lru"
)

// A Kind is one of the three files of a module version.
type Kind string

const (
	Info Kind = "info"
	Mod  Kind = "mod"
	Zip  Kind = "zip"
)

// Sizes in bytes above which nothing is stored.
const (
	MaxInfo = 64 << 10
	MaxMod  = 16 << 20 // zip.MaxGoMod
	MaxZip  = modzip.MaxSize
)

const (
	tempDir = ".tmp"
	badDir  = ".bad"

	// maxElem is the longest file name a common file system takes.
	maxElem = 255

	// maxMemo bounds the memory of checked files, at about 400 bytes each.
	maxMemo = 1 << 16
)

// ErrDamaged is wrapped by the error of [Store.Open] when the stored file did
// not match its record and was moved aside. That error is [fs.ErrNotExist] too.
var ErrDamaged = errors.New("stored file does not match its record")

// ErrName is wrapped by every error about a module version that can have no
// files, because it is malformed, not canonical, or too long for a file system.
var ErrName = errors.New("no valid module version")

// Config says where a store is.
type Config struct {
	// Dir is the directory; it is made if it is missing, its parent is not.
	Dir string

	// ReadOnly says that the directory is another's: it must be there, and nothing
	// is written, swept or moved aside in it.
	ReadOnly bool

	// Private says which modules are private; what is below a private path is
	// private too. Their files and those of the others are checked in rooms apart,
	// so that neither wait for the other, and are for this user alone. Nil: none.
	Private func(path string) bool

	// PrivateBelow says of which public paths something below may be private. Nil:
	// of all.
	PrivateBelow func(path string) bool

	// Logger gets a line for each file found damaged. Nil discards.
	Logger *slog.Logger
}

// A Store is a file tree of module versions. It is safe for concurrent use by
// one process; the lock of the data directory keeps out others.
type Store struct {
	c    Config
	root *os.Root
	log  *slog.Logger
	memo *lru.Cache[key, checked]

	// locks holds the lock of each version or list being changed. It is held
	// while files get names, and never while one is read.
	locks keyed

	public, private rooms

	checks checks
	stop   context.CancelFunc // of checks
}

// A key is a file of a module version.
type key struct {
	mod  module.Version
	kind Kind
}

// checked says that a file was found to match want.
type checked struct {
	path string // with the store's directory
	file identity
	want string // the hash of the record; "" for a .info
	meta Meta
}

// Meta describes an open file.
type Meta struct {
	ETag string // strong: the hex SHA-256 of the file, in quotes
	Size int64
}

// Open opens the store in c.Dir and, unless it is only read, removes the temporary
// files that a crash left there.
func Open(c Config) (*Store, error) {
	if !c.ReadOnly {
		if err := os.Mkdir(c.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, err
	}
	if !c.ReadOnly {
		if _, err := durable.Sweep(root, tempDir); err != nil {
			root.Close()
			return nil, err
		}
	}
	l := c.Logger
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{
		c:       c,
		root:    root,
		log:     l,
		memo:    lru.New[key, checked](maxMemo, nil),
		public:  newRooms(),
		private: newRooms(),
		checks:  checks{ctx: ctx},
		stop:    stop,
	}
	if c.ReadOnly {
		return s, nil
	}
	if err := s.tighten(); err != nil && !errors.Is(err, syscall.EROFS) {
		l.Warn("files of private modules may be readable by others", "err", err)
	}
	return s, nil
}

// Close gives up the directory and ends the checks. Files that were opened stay
// readable.
func (s *Store) Close() error {
	s.stop()
	return s.root.Close()
}

// Name returns the name below the store, which is also the path of the GOPROXY
// protocol, of the k file of m. It is the check that every module version from
// outside has to pass before anything is done for it: errors wrap [ErrName].
func Name(m module.Version, k Kind) (string, error) {
	if err := module.Check(m.Path, m.Version); err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	if module.CanonicalVersion(m.Version) != m.Version {
		return "", fmt.Errorf("%w: version %q is not canonical", ErrName, m.Version)
	}
	p, err := module.EscapePath(m.Path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	v, err := module.EscapeVersion(m.Version)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	// The longest of the three names decides for all, so that no version is
	// admitted whose .info could not be stored.
	if len(v)+len(".info") > maxElem || longElem(p) || len(p) > log.MaxRecord/4 {
		return "", fmt.Errorf("%w: name too long", ErrName)
	}
	return p + "/@v/" + v + "." + string(k), nil
}

func longElem(p string) bool {
	n := 0
	for i := range len(p) {
		if n++; p[i] == '/' {
			n = 0
		}
		if n > maxElem {
			return true
		}
	}
	return false
}

// Open opens the k file of rec's module version, which the caller closes. The
// file was checked against rec. It is not wrapped, so that it can be sent
// without being copied through this process. If there is none, or none that
// matches, the error is [fs.ErrNotExist].
// A check that has to be made first is shared by all who ask for the file, and
// ends when the last of them has left.
// That nobody writes to it while it is read is taken for granted: this process
// replaces files and never changes them.
func (s *Store) Open(ctx context.Context, rec log.Record, k Kind) (*os.File, Meta, error) {
	if f, meta, ok := s.known(rec, k); ok {
		return f, meta, nil
	}
	name, err := Name(rec.Module, k)
	if err != nil {
		return nil, Meta{}, err
	}
	for range 3 { // the file may be put anew at any moment
		c, err := s.checks.share(ctx, task{key{rec.Module, k}, want(rec, k)}, func(ctx context.Context) (checked, error) {
			return s.recheck(ctx, rec, k, name)
		})
		if err == errChanged {
			continue
		}
		if err != nil {
			return nil, Meta{}, err
		}
		f, err := s.root.Open(name)
		if err != nil {
			return nil, Meta{}, err
		}
		if id, err := identify(f); err == nil && id == c.file {
			return f, c.meta, nil
		}
		f.Close()
	}
	return nil, Meta{}, fmt.Errorf("%s: %w", name, errChanged)
}

// errChanged is the error of a file that is replaced while it is looked at.
var errChanged = errors.New("stored file changes all the time")

// known opens a file that the memo vouches for. It goes by the whole path, in
// one step, where an os.Root takes one for each directory, which is what most
// of serving a small zip would cost. The path is one that was checked through
// the root before; should a link lead elsewhere by now, what is there is not
// the file that was checked.
func (s *Store) known(rec log.Record, k Kind) (*os.File, Meta, bool) {
	c, ok := s.memo.Get(key{rec.Module, k})
	if !ok || c.want != want(rec, k) {
		return nil, Meta{}, false
	}
	f, err := openFile(c.path)
	if err != nil {
		return nil, Meta{}, false
	}
	if id, err := identify(f); err != nil || id != c.file {
		f.Close()
		return nil, Meta{}, false
	}
	return f, c.meta, true
}

// openFile is os.Open for what was a regular file. It does not try whether the
// file can be polled, which takes five system calls to find out that it cannot.
func openFile(name string) (*os.File, error) {
	for {
		fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if err != syscall.EINTR {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// ReadInfo returns what the stored .info of rec says.
func (s *Store) ReadInfo(ctx context.Context, rec log.Record) (VersionInfo, error) {
	f, _, err := s.Open(ctx, rec, Info)
	if err != nil {
		return VersionInfo{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxInfo+1))
	if err != nil {
		return VersionInfo{}, err
	}
	return ParseInfo(data, rec.Module)
}

// ReadMod returns the stored .mod of rec.
func (s *Store) ReadMod(ctx context.Context, rec log.Record) ([]byte, error) {
	f, _, err := s.Open(ctx, rec, Mod)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxMod))
}

// recheck reads a file that the memo does not vouch for.
func (s *Store) recheck(ctx context.Context, rec log.Record, k Kind, name string) (checked, error) {
	key := key{rec.Module, k}
	// Before the open, which would wait for the other end of a pipe, and follow
	// a link.
	if fi, err := s.root.Lstat(name); err != nil {
		return checked{}, err
	} else if !fi.Mode().IsRegular() {
		return checked{}, s.setAside(key, name, identity{}, errors.New("not a regular file"))
	}
	f, err := s.root.Open(name)
	if err != nil {
		return checked{}, err
	}
	defer f.Close()
	id, err := identify(f)
	if err != nil {
		return checked{}, err
	}
	if c, ok := s.memo.Get(key); ok && c.file == id && c.want == want(rec, k) {
		return c, nil // by a check that has just ended
	}
	sum, err := s.check(ctx, f, rec, k, id)
	if errors.As(err, new(*MismatchError)) {
		return checked{}, s.setAside(key, name, id, err)
	}
	if err != nil {
		return checked{}, err
	}
	return s.remember(key, name, id, want(rec, k), sum), nil
}

func (s *Store) remember(k key, name string, id identity, want, sum string) checked {
	c := checked{filepath.Join(s.root.Name(), name), id, want, Meta{ETag: `"` + sum + `"`, Size: id.size}}
	s.memo.Put(k, c)
	return c
}

// setAside moves a damaged file out of the tree and returns the error to
// report. It does not move what took the place of the file meanwhile.
func (s *Store) setAside(k key, name string, id identity, cause error) error {
	defer s.locks.lock(k.mod.String())()
	fi, err := s.root.Lstat(name)
	if err != nil {
		return err
	}
	if now, err := identityOf(fi); err == nil && now != id {
		return errChanged
	}
	s.memo.Delete(k)
	if s.c.ReadOnly {
		s.log.Error("stored file does not match its record", "file", name, "cause", cause)
		return fmt.Errorf("%s: %w: %w", name, ErrDamaged, fs.ErrNotExist)
	}
	aside := path.Join(badDir, time.Now().UTC().Format("20060102T150405Z-")+rand.Text())
	err = durable.MkdirAll(s.root, badDir)
	if err == nil {
		err = s.root.Rename(name, aside)
	}
	if err == nil {
		err = durable.SyncDir(s.root, path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("%s: %w, and cannot be moved aside: %w", name, cause, err)
	}
	s.log.Error("stored file does not match its record", "file", name, "moved_to", aside, "cause", cause)
	return fmt.Errorf("%s: %w: %w", name, ErrDamaged, fs.ErrNotExist)
}

// PutMod stores the .info and the .mod of rec's version, both from one copy of
// the module, after checking them. With a nil info it stores the .mod alone. A
// *[MismatchError] says that they are not rec's; nothing is stored then.
func (s *Store) PutMod(rec log.Record, info, mod []byte) error {
	name, err := Name(rec.Module, Mod)
	if err != nil {
		return err
	}
	infoName, err := Name(rec.Module, Info)
	if err != nil {
		return err
	}
	if info != nil {
		if _, err := ParseInfo(info, rec.Module); err != nil {
			return err
		}
	}
	h, err := hashMod(mod)
	if err != nil {
		return err
	}
	if h != rec.Mod {
		return &MismatchError{Module: rec.Module, Kind: Mod, Want: rec.Mod, Got: h}
	}
	defer s.locks.lock(rec.Module.String())()
	if err := s.write(key{rec.Module, Mod}, name, mod, rec.Mod); err != nil || info == nil {
		return err
	}
	// The .info last: a .info without its .mod never stands.
	return s.write(key{rec.Module, Info}, infoName, info, "")
}

// write gives a small checked file its name.
func (s *Store) write(k key, name string, data []byte, want string) error {
	f, err := durable.Create(s.root, tempDir)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return s.commit(f, k, name, want, hexSum(data))
}

// commit gives f its name and remembers that it was checked.
func (s *Store) commit(f *durable.File, k key, name, want, sum string) error {
	if s.isPrivate(k.mod.Path) {
		if err := f.Chmod(privateFile); err != nil {
			return err
		}
		if err := s.makeDir(k.mod.Path, name); err != nil {
			return err
		}
	}
	id, err := identify(f.File)
	if err != nil {
		return err
	}
	// Whatever happens below, what the memo knew of the name is over.
	s.memo.Delete(k)
	if err := f.Commit(name); err != nil {
		return err
	}
	s.remember(k, name, id, want, sum)
	return nil
}

func want(rec log.Record, k Kind) string {
	switch k {
	case Mod:
		return rec.Mod
	case Zip:
		return rec.Zip
	}
	return ""
}
