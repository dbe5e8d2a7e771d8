// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

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
	"time"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/durable"
	"example.org/sumlog/log"
)

var cmdBackup = &command{
	Name:  "backup",
	Args:  "DEST",
	Short: "copy a data directory, beside a running server",
	Long: `
Backup copies the log as of its newest publication, with key, archive, settings
and the bytes of all modules, into DEST: a new or empty directory, or a backup of
the same log, which it brings up to date. A server may be running and admitting
meanwhile. Only what is new is copied, and all of the log that is copied is checked.
However it is cut off, DEST is a whole backup of the size that it had or a newer one.

DEST holds the signing key: keep it as safe as DIR. It is marked as a backup, and
cannot be served or signed with: restore it, or look at it with serve -read-only.
The index is not copied; it is derived.

	sumlog backup -dir DIR /backup/sumlog

With -every it goes on until it gets SIGTERM, one such round after another. What is
published between the last round and the loss of DIR is lost, and with it the name:
a short TIME makes that improbable. A round that fails is said and tried again at the
next TIME; one that finds something unsafe ends the command with exit code 3.
`,
	Flags: []string{"dir", "guard", "every", "config"},
	NArgs: cli.Exactly(1),
	Run:   runBackup,
}

func runBackup(ctx context.Context, c *call) error {
	every := c.opts.every
	if every != 0 && every < minEvery {
		return cli.Usagef("-every %v is less than %v", every, minEvery)
	}
	last := int64(-1)
	for {
		began := time.Now()
		size, err := c.backUp(ctx, last >= 0)
		switch {
		case every > 0 && ctx.Err() != nil:
			return nil // what is there is whole, and the next round goes on with it
		case err != nil && (every == 0 || lasting(err)):
			return err
		case err != nil:
			fmt.Fprintf(c.Stderr, "sumlog: %v\nsumlog: hint: it is tried again every %v\n", err, every)
		case size != last:
			if _, err := fmt.Fprintf(c.Stdout, "backed up: %s size %d\n", c.Args[0], size); err != nil {
				return err
			}
			last = size
		}
		if every == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(began.Add(every))):
		}
	}
}

// minEvery keeps a backup from doing nothing but look for what is new.
const minEvery = time.Second

// lasting reports whether an error of a round will be that of the next one too.
func lasting(err error) bool { return exitCode(err) != 0 || errors.Is(err, cli.ErrUsage) }

// backUp runs one round. One after the first never begins a new backup.
func (c *call) backUp(ctx context.Context, again bool) (int64, error) {
	dest := c.Args[0]
	size, err := c.replicate(ctx, "backing up", c.opts.dir, dest, log.BackupConfig{FromGuard: c.opts.guard, Existing: again}, log.Backup)
	switch {
	case errors.Is(err, log.ErrNoBackup) && !again:
		return 0, cli.Hint(err, "back up into a directory that does not exist yet, or into a backup that this or a later sumlog has made; nothing was changed")
	case errors.Is(err, durable.ErrLocked):
		return 0, cli.Hint(err, "another sumlog process backs up into %s", dest)
	case errors.Is(err, log.ErrNoBackup), again && errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	return size, hintOpen(err, c.opts.dir)
}

var cmdRestore = &command{
	Name:  "restore",
	Args:  "DEST",
	Short: "make a data directory from a backup",
	Long: `
Restore makes the data directory DIR, which must not exist or be empty, from the
backup DEST. It refuses, with exit code 3, what it can see would roll the log
back: a DIR that is not empty, or a guard outside DIR that another process holds
or that has seen more than the backup has.

Whether the log has published more than the backup has, nothing here can know for
sure, and a restored one would then sign a second history. So it wants the size of
the backup typed, or given with -size. If anything was published after it, the name
is burnt: begin a new log under another name.

	sumlog restore /backup/sumlog -dir DIR

The guard is kept where the backup's settings say, or where -guard says, which the
restored settings then name. A drill beside the running server takes a guard of its
own, and what it made is never started as the server:

	sumlog restore /backup/sumlog -dir drill -guard drill.guard
	sumlog check -dir drill
`,
	Flags: []string{"dir", "guard", "size"},
	NArgs: cli.Exactly(1),
	Run:   runRestore,
}

func runRestore(ctx context.Context, c *call) error {
	r, err := c.readBackup(c.Args[0])
	if err != nil {
		return err
	}
	size, err := c.replicate(ctx, "restoring", r.dir, c.opts.dir, log.BackupConfig{
		Guard: c.opts.guard,
		Agree: func(name string, size int64) error { return r.agree(ctx, name, size) },
		Also:  r.writeSettings,
	}, log.Restore)
	guard, byGuard := errors.AsType[*log.GuardError](err)
	switch {
	case byGuard:
		return r.hintGuard(guard, err)
	case errors.Is(err, log.ErrExists):
		return cli.Hint(err, "restore into a directory that does not exist yet; nothing was changed")
	case errors.Is(err, log.ErrUnsafe):
		return cli.Hint(err, "two histories under one name are a fork, which every auditor will show; nothing was changed")
	case err != nil:
		return err
	}
	fmt.Fprintf(c.Stderr, "sumlog: warning: if this log ever published more than size %d, do not start it: it would sign a second history\n", size)
	_, err = fmt.Fprintf(c.Stdout, "restored: %s size %d\n", c.opts.dir, size)
	return err
}

// A restorer restores a backup.
type restorer struct {
	*call
	dir      string // the backup
	file     string // its settings
	settings []byte // of DIR; nil: none
	named    bool   // the settings name the guard
}

// readBackup reads the settings of a backup. They know where the guard is kept,
// if not in DIR and unless it is given, and what they name is not in the backup:
// so each such path is said.
func (c *call) readBackup(dir string) (*restorer, error) {
	r := &restorer{call: c, dir: dir, file: filepath.Join(dir, settingsFile)}
	if err := c.absoluteGuard(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(r.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	keys, err := program.ParseFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.file, err)
	}
	for _, k := range keys {
		given := k.Name == "guard" && c.opts.guard != ""
		switch {
		case !program.IsPlace(k.Name):
			continue
		case given:
			fmt.Fprintf(c.Stderr, "sumlog: %s names the guard %s; %s is used instead\n", r.file, k.Value, c.opts.guard)
			continue
		case k.Name == "guard":
			c.opts.guard, r.named = k.Value, true
		}
		fmt.Fprintf(c.Stderr, "sumlog: from %s: %s is %s\n", r.file, k.Name, k.Value)
	}
	r.settings = text
	if c.opts.guard != "" && !r.named {
		r.settings, err = withSetting(text, cli.KeyValue{Name: "guard", Value: c.opts.guard})
	}
	return r, err
}

// agree asks the operator for what nothing here can know.
func (r *restorer) agree(ctx context.Context, name string, size int64) error {
	want := strconv.FormatInt(size, 10)
	typed := r.opts.size
	if typed == "" {
		fmt.Fprintf(r.Stderr, "sumlog: the backup has size %d of %s. Is the old directory really lost?\n", size, name)
		fmt.Fprintf(r.Stderr, "sumlog: If it is anywhere, moved away or on the old disk, put that back instead.\n")
		fmt.Fprintf(r.Stderr, "sumlog: If the log published anything beyond size %d, what is restored signs a second history; nothing here can know.\n", size)
		var err error
		if typed, err = r.Typed(ctx, "sumlog: type the size to restore this backup:"); err != nil {
			return err
		}
	}
	if typed != want {
		return cli.Usagef("the backup has size %d, and the answer was %q: nothing was restored", size, typed).
			Hint("if the log has published more than that, look for its newest copy; a script passes -size %d", size)
	}
	return nil
}

// writeSettings has the restored directory name the guard that it has.
func (r *restorer) writeSettings(_ context.Context, root *os.Root) error {
	if r.settings == nil {
		return nil
	}
	return durable.WriteFile(root, settingsFile, r.settings, 0o600)
}

// hintGuard says where the guard that stands in the way was named.
func (r *restorer) hintGuard(refusal *log.GuardError, err error) error {
	if r.named {
		err = fmt.Errorf("%w (its path comes from %s)", err, r.file)
	}
	if errors.Is(refusal, durable.ErrLocked) {
		return cli.Hint(err, "the log is running; a drill beside it takes a guard of its own, -guard OTHER, and what it makes must never be started as the server: it would sign a second history")
	}
	return cli.Hint(err, "what the guard has seen was published, and is lost with this backup: look for a newer copy of the directory; nothing was changed. "+
		"A drill takes a guard of its own, -guard OTHER, and what it makes must never be started as the server")
}

// replicate runs log.Backup or log.Restore with all that belongs to the other
// parts.
func (c *call) replicate(ctx context.Context, what, from, to string, bc log.BackupConfig,
	do func(context.Context, log.BackupConfig) (int64, error)) (int64, error) {
	logger := c.logger()
	m := c.Meter(what+" log", logger)
	defer m.End()
	also := bc.Also
	bc.From, bc.To, bc.Progress = from, to, m.Set
	bc.Also = func(ctx context.Context, root *os.Root) error {
		m.End()
		files := c.Meter(what+" modules", logger)
		defer files.End()
		if err := copyParts(ctx, from, root, files.Set); err != nil || also == nil {
			return err
		}
		return also(ctx, root)
	}
	return do(ctx, bc)
}

// parts are what a backup holds beside the log. The memory of the public database
// (upstream) is copied head first: tiles that are newer than the head do no harm,
// and those that are missing are asked for again.
var parts = []string{settingsFile, evidenceDir, upstreamDir, mirrorDir}

// copyParts copies the parts of the data directory dir to root, of which some may
// be there. Nothing there is removed: what is gone from dir may be what it lost.
//
// A file is one that was copied if it has the same size and time of change. So what
// rots in dir without being written does not take the place of what was copied when
// it was whole.
//
// A directory that is closed to others is closed in the copy before anything is in
// it: of some files in it, that directory is all that keeps others from them.
func copyParts(ctx context.Context, dir string, to *os.Root, progress func(done, total int64)) error {
	from, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := sweepParts(to); err != nil {
		return err
	}
	var names []string
	for _, part := range parts {
		list, err := below(from, part)
		if err != nil {
			return err
		}
		names = append(names, list...)
	}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyEntry(from, to, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		progress(int64(i+1), int64(len(names)))
	}
	to.Remove(partsTemp) // empty, or not there
	return nil
}

// partsTemp is where files of the parts are made, so that what a crash leaves of
// them is found without looking through all directories.
const partsTemp = ".tmp"

func sweepParts(to *os.Root) error {
	if _, err := durable.Sweep(to, partsTemp); err != nil {
		return err
	}
	if err := durable.MkdirAll(to, partsTemp); err != nil {
		return err
	}
	return to.Chmod(partsTemp, 0o700)
}

// below lists the directories and finished files that name is or holds, a directory
// before what it holds. What is being made has a name that begins with
// durable.TempPrefix, or is in a directory .tmp.
func below(root *os.Root, name string) (names []string, err error) {
	err = fs.WalkDir(root.FS(), name, func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went away, or was never there
		case err != nil:
			return err
		case d.IsDir() && base == ".tmp":
			return fs.SkipDir
		case d.IsDir(), d.Type().IsRegular() && !strings.HasPrefix(base, durable.TempPrefix):
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// copyEntry copies one file or directory, without what is in it. One that went away
// meanwhile was moved aside by the mirror because it had rotted.
func copyEntry(from, to *os.Root, name string) error {
	src, err := from.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return copyDir(to, name, fi.Mode().Perm())
	}
	return copyFile(src, fi, to, name)
}

// copyDir makes a directory that others may do no more with than mode says.
func copyDir(to *os.Root, name string, mode fs.FileMode) error {
	if err := durable.MkdirAll(to, name); err != nil {
		return err
	}
	have, err := to.Stat(name)
	if err != nil {
		return err
	}
	const owner = 0o700 // has to write into it
	if closed := have.Mode().Perm() & (mode | owner); closed != have.Mode().Perm() {
		return to.Chmod(name, closed)
	}
	return nil
}

// copyFile copies one file durably, unless it was.
func copyFile(src *os.File, fi fs.FileInfo, to *os.Root, name string) error {
	if have, err := to.Lstat(name); err == nil && have.Mode() == fi.Mode() && have.Size() == fi.Size() && have.ModTime().Equal(fi.ModTime()) {
		return nil
	}
	dst, err := durable.Create(to, partsTemp)
	if err != nil {
		return err
	}
	defer dst.Abort()
	// Settings may hold the password of an upstream.
	if err := dst.Chmod(fi.Mode().Perm()); err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if err := dst.Commit(name); err != nil {
		return err
	}
	return to.Chtimes(name, fi.ModTime(), fi.ModTime())
}
