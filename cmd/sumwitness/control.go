// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/sumlog/internal/checkpoint"
	"example.org/sumlog/internal/cli"
	"example.org/sumlog/witness"
	"example.org/sumlog/witness/state"
)

// Changes are what the command logs asks for. A running server is the only one
// that may write the state; it takes them from a socket in the data directory,
// which is for whoever may enter that directory.
type changes struct {
	Add     []string // vkeys
	Disable []string // origins
	Enable  []string
}

const (
	maxChanges  = 16 << 20 // bytes, of a request
	controlTime = 30 * time.Second
)

// apply makes the changes, those before the first that fails.
func (ch changes) apply(w *witness.Witness) error {
	logs, err := parseLogs(ch.Add, "logs -add")
	if err != nil {
		return err
	}
	if err := addLogs(w, logs); err != nil {
		return err
	}
	for _, origin := range ch.Disable {
		if err := w.SetDisabled(origin, true); err != nil {
			return fmt.Errorf("disable %q: %w", origin, err)
		}
	}
	for _, origin := range ch.Enable {
		if err := w.SetDisabled(origin, false); err != nil {
			return fmt.Errorf("enable %q: %w", origin, err)
		}
	}
	return nil
}

// parseLogs returns the logs of vkeys. Those of one name are keys of one log.
func parseLogs(vkeys []string, source string) (logs []state.Log, err error) {
	index := map[string]int{}
	for _, vkey := range vkeys {
		k, err := checkpoint.ParseKey(vkey)
		if err != nil {
			return nil, cli.UsageError(err.Error())
		}
		if k.Algorithm() == checkpoint.CosignatureEd25519 {
			return nil, cli.Usagef("%s is the key of a witness, not of a log", vkey)
		}
		i, ok := index[k.Name()]
		if !ok {
			i = len(logs)
			index[k.Name()] = i
			logs = append(logs, state.Log{Origin: k.Name(), Source: source})
		}
		logs[i].Keys = append(logs[i].Keys, k)
	}
	for _, l := range logs {
		if err := l.Check(); err != nil {
			return nil, cli.UsageError(err.Error())
		}
	}
	return logs, nil
}

// addLogs adds logs that somebody named: one that is refused is an error.
func addLogs(w *witness.Witness, logs []state.Log) error {
	if len(logs) == 0 {
		return nil
	}
	_, errs := w.AddLogs(logs)
	return hintKeys(errors.Join(errs...))
}

// hintKeys adds to the error of adding a log under another key what helps.
func hintKeys(err error) error {
	if !errors.Is(err, state.ErrKeys) {
		return err
	}
	return cli.Hint(err, "%s", keysHint)
}

// Whoever could change the keys of a log could have another history cosigned
// under its name.
const keysHint = "sumwitness logs -dir DIR ORIGIN prints the key that it has, for ever; a log with another key needs a name of its own," +
	" and one that will change its key is added with all of them at once"

// serveControl takes changes from the socket until the process ends. Where there
// can be no socket, the witness works all the same.
func serveControl(dir string, w *witness.Witness, logger *slog.Logger) (stop func()) {
	name := filepath.Join(dir, controlFile)
	// The state is locked: whoever made this one is gone.
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logger.Warn("no control socket: sumwitness logs cannot change anything while this runs", "err", err)
		return func() {}
	}
	ln, err := net.Listen("unix", name)
	if err == nil {
		err = os.Chmod(name, 0o600)
	}
	if err != nil {
		logger.Warn("no control socket: sumwitness logs cannot change anything while this runs", "err", err)
		return func() {}
	}
	srv := &http.Server{
		Handler:     controlHandler(w, logger),
		ReadTimeout: controlTime, WriteTimeout: controlTime,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln)
	}()
	return func() {
		srv.Close()
		<-done
	}
}

func controlHandler(w *witness.Witness, logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /logs", func(rw http.ResponseWriter, r *http.Request) {
		var ch changes
		d := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxChanges))
		d.DisallowUnknownFields()
		if err := d.Decode(&ch); err != nil {
			plain(rw, http.StatusBadRequest, err.Error())
			return
		}
		if err := ch.apply(w); err != nil {
			status := http.StatusUnprocessableEntity
			if errors.Is(err, state.ErrKeys) {
				status = http.StatusConflict
			}
			plain(rw, status, err.Error())
			return
		}
		logger.Info("logs changed", "added", len(ch.Add), "disabled", len(ch.Disable), "enabled", len(ch.Enable))
		plain(rw, http.StatusOK, "ok")
	})
	return mux
}

// errNoServer says that no server answers on the control socket.
var errNoServer = errors.New("no server on the control socket")

// send asks the server that runs on dir to make the changes.
func (ch changes) send(ctx context.Context, dir string) error {
	body, err := json.Marshal(ch)
	if err != nil {
		return err
	}
	client := http.Client{
		Timeout: controlTime,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, controlFile))
				if err != nil {
					err = fmt.Errorf("%w: %w", errNoServer, err)
				}
				return conn, err
			},
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/logs", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	err = errors.New(strings.TrimSpace(string(text)))
	if resp.StatusCode == http.StatusConflict {
		return cli.Hint(err, "%s", keysHint)
	}
	return err
}
