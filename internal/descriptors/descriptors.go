// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

// Package descriptors divides the files that a process may have open, so that no
// number of clients takes those that its own state needs, and tells an error of a
// machine that has run short from all others.
//
// Go raises the soft limit of a process to the hard one when it starts.
package descriptors

import (
	"errors"
	"syscall"
)

// Limit returns how many descriptors the process may have.
func Limit() int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 256 // what the least of systems gives
	}
	return int(min(uint64(files.Cur), 1<<20))
}

// Short reports whether err says that the machine, or what this process may have
// of it, has run short of descriptors or memory. It is gone when others have given
// some back: whoever asked may try again, and nothing else follows from it.
func Short(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
