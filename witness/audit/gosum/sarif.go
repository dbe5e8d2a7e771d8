// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package gosum

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"
)

// rules says what each verdict means in a SARIF file, and how grave it is there.
var rules = []struct {
	verdict     Verdict
	level, text string
}{
	{Mismatch, "error", "The hash is not the one in the checksum database."},
	{NotLogged, "warning", "The checksum database has no such module version."},
	{Malformed, "error", "The line is not one of a go.sum file."},
	{Unchecked, "warning", "The hash could not be checked."},
	{UnknownHash, "note", "The hash is of an unknown kind."},
	{Private, "none", "The module is private."},
	{Note, "none", "No log can have it: it is a directory on the disk of who built it."},
	{Toolchain, "none", "There is no hash of the toolchain."},
}

type (
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID            string    `json:"id"`
		Description   sarifText `json:"shortDescription"`
		Configuration struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Kind      string          `json:"kind"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifFile struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
)

// SARIF returns what is not ok as a file in the Static Analysis Results Interchange
// Format 2.1.0. What all must be logged for is an error then. URIs of files below
// dir, the working directory, are relative to it.
func (r *Report) SARIF(dir string) ([]byte, error) {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "sumaudit", Version: r.Tool}}, Results: []sarifResult{}}
	index := make(map[Verdict]int)
	for i, rule := range rules {
		index[rule.verdict] = i
		s := sarifRule{ID: string(rule.verdict), Description: sarifText{rule.text}}
		s.Configuration.Level = rule.level
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, s)
	}
	for _, item := range r.Lines {
		if item.Verdict == OK {
			continue
		}
		i := index[item.Verdict]
		level := rules[i].level
		if r.RequireLogged && Conclude([]Item{item}, true) == Different {
			level = "error"
		}
		var at sarifLocation
		at.Physical.Artifact.URI = artifact(dir, item.File)
		if item.Line > 0 {
			at.Physical.Region = &sarifRegion{item.Line}
		}
		kind := "fail"
		if level == "none" {
			kind = "informational" // only what fails has a level
		}
		run.Results = append(run.Results, sarifResult{string(item.Verdict), i, kind, level, sarifText{item.String()}, []sarifLocation{at}})
	}
	data, err := json.MarshalIndent(sarifFile{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}, "", "  ")
	return append(data, '\n'), err
}

// artifact returns the URI of a file: relative, so that it means the same where a
// repository is checked out elsewhere, or else one of the scheme file.
func artifact(dir, file string) string {
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	if rel, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(rel) {
		return (&url.URL{Path: filepath.ToSlash(rel)}).String()
	}
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // of a volume
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}
