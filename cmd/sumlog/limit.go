// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"runtime"

	"example.org/sumlog/internal/cli"
	"example.org/sumlog/internal/descriptors"
)

const (
	// What the process needs for itself: SQLite's readers apart, the files of log,
	// archive, guard and index, those that a publication or a check opens for a
	// moment, the witnesses' connections, and the metrics'. Tessera's goroutines
	// panic when they cannot open theirs, so it is ample.
	ownFiles = 128

	// A reader of the index has the database and its write-ahead log open.
	perReader = 2

	// What admission has open at most for each of its quick flights, the slow ones,
	// all questions and all lookups in the public database included: connections to
	// public and to private upstreams, and files that are being made. The three
	// quarters that one host gets are enough for all 15, and for the relay's.
	connsPerFlight = 27
	perFlight      = 2*connsPerFlight + 10
	maxFlights     = 32

	// A connection, and the file that is being sent through it.
	perConn  = 2
	maxConns = 4096
	minConns = 16
)

// A budget says what the descriptors of a process are for.
type budget struct {
	flights int // of admission
	conns   int // of clients
}

// divide divides what a process may open: first what it needs for itself, a third
// of the rest for the way outward, two thirds for clients.
func divide(limit, cpus int) (budget, error) {
	own := ownFiles + perReader*max(4, cpus)
	if need := own + perFlight + minConns*perConn; limit < need {
		return budget{}, cli.TooFewFiles(limit, need)
	}
	left := limit - own
	flights := min(max(1, left/3/perFlight), maxFlights)
	return budget{flights, min((left-flights*perFlight)/perConn, maxConns)}, nil
}

// relayed is how many quick requests the relay of the public database gets, each
// with four slow ones.
func relayed(flights int) int { return max(1, flights/2) }

// limits is the budget of this process.
func limits() (budget, error) { return divide(descriptors.Limit(), runtime.GOMAXPROCS(0)) }
