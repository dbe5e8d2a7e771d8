// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"example.org/sumlog/internal/durable"
	"example.org/sumlog/internal/evidence"
	"example.org/sumlog/log"
)

// maxEvidence bounds the evidence files: an upstream that lies anew with each
// answer must not fill the disk. Beyond it, findings are in the log only.
const maxEvidence = 1000

// keepEvidence returns what keeps, below the data directory dir, text that
// proves that somebody did wrong, under a name that the same text gets again.
func keepEvidence(dir string, logger *slog.Logger) func(kind string, text []byte) {
	return func(kind string, text []byte) {
		sum := sha256.Sum256(text)
		name := path.Join(evidenceDir, fmt.Sprintf("%s-%x.txt", strings.ReplaceAll(kind, "/", "_"), sum[:8]))
		if err := writeEvidence(dir, name, text); err != nil {
			logger.Error("evidence could not be kept", "kind", kind, "text", string(text), "err", err)
			return
		}
		logger.Error("evidence kept", "kind", kind, "file", name)
	}
}

// aheadKind is what evidence about this log's own key is called.
const aheadKind = "ahead"

// seenTrees returns the trees that this log's own key has signed, as the evidence in
// dir shows that somebody has handed to it. What is not evidence shows nothing.
func seenTrees(dir string, logger *slog.Logger) (seen []tlog.Tree) {
	_, vkey, err := log.ReadVKey(dir)
	if err != nil {
		return nil // there is no log, and whoever opens it says so
	}
	files, _ := filepath.Glob(filepath.Join(dir, evidenceDir, aheadKind+"-*.txt"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			logger.Warn("evidence about this log could not be read", "file", file, "err", err)
			continue
		}
		e, err := evidence.Parse(text)
		if err != nil || e.Key().String() != vkey {
			continue
		}
		a, b := e.Trees()
		seen = append(seen, a, b)
	}
	return seen
}

func writeEvidence(dir, name string, text []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := durable.MkdirAll(root, evidenceDir); err != nil {
		return err
	}
	if err := closeToOthers(root); err != nil {
		return err
	}
	d, err := root.Open(evidenceDir)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	if len(names) >= maxEvidence {
		return fmt.Errorf("%s holds %d files already", evidenceDir, len(names))
	}
	return durable.WriteFile(root, name, text, 0o600)
}
