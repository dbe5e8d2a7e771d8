// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package testauthority

import (
	"bytes"
	"io/fs"
	"sync"

	"golang.org/x/mod/sumdb"
)

// A Client is what golang.org/x/mod's client asks, remembers and says: the
// sumdb.ClientOps of a go command with an empty cache.
type Client struct {
	vkey string
	get  func(path string) ([]byte, error)

	mu   sync.Mutex
	kept map[string][]byte
	said string
}

// NewClient returns a client of the database with the key vkey, which get asks.
func NewClient(vkey string, get func(path string) ([]byte, error)) *Client {
	return &Client{vkey: vkey, get: get, kept: map[string][]byte{}}
}

// Said returns the text of the newest security error, or nothing.
func (c *Client) Said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said
}

func (c *Client) ReadRemote(path string) ([]byte, error) { return c.get(path) }

func (c *Client) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(c.vkey), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[file], nil // an empty latest is right at first
}

func (c *Client) WriteConfig(file string, old, new []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !bytes.Equal(c.kept[file], old) {
		return sumdb.ErrWriteConflict
	}
	c.kept[file] = new
	return nil
}

func (c *Client) ReadCache(file string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.kept["cache/"+file]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (c *Client) WriteCache(file string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept["cache/"+file] = data
}

func (c *Client) Log(string) {}

func (c *Client) SecurityError(msg string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = msg
}
