// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package state

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"strings"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/tlogclient"
)

// Forget removes the heads seen that are smaller than size. The caller has found
// all of them to be heads of the tree of the one that KeepHead kept: what contradicts
// one of them contradicts that one too, so that nothing is lost for evidence, and an
// auditor that looks every minute does not keep a file for each of them.
//
// What a crash leaves is looked at, and removed, by the next audit.
func (s *State) Forget(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		maps.DeleteFunc(s.heads, func(_ string, h tlogclient.Head) bool { return h.Size < size })
		return nil
	}
	names, err := fs.ReadDir(s.root.FS(), "heads")
	if err != nil {
		return err
	}
	for _, d := range names {
		text, _, _ := strings.Cut(d.Name(), "-")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n >= size {
			continue
		}
		if err := s.root.Remove(path.Join("heads", d.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return durable.SyncDir(s.root, "heads")
}
