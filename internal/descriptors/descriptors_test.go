// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package descriptors

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
)

// TestShort checks that a shortage is seen through what it is wrapped in, and that
// nothing else is taken for one.
func TestShort(t *testing.T) {
	for _, err := range []error{
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EMFILE},
		fmt.Errorf("publication: %w", &os.SyscallError{Syscall: "openat", Err: syscall.ENFILE}),
		&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.ENOBUFS)},
		errors.Join(errors.New("another"), syscall.ENOMEM),
	} {
		if !Short(err) {
			t.Errorf("%v is a shortage", err)
		}
	}
	for _, err := range []error{nil, fs.ErrNotExist, syscall.ENOSPC, syscall.EIO, errors.New("too many open files")} {
		if Short(err) {
			t.Errorf("%v is no shortage", err)
		}
	}
}

// TestLimit checks that the limit is the one of this process.
func TestLimit(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if got := Limit(); got < 1 || uint64(got) > files.Cur {
		t.Errorf("limit %d of %d", got, files.Cur)
	}
}
