// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import "testing"

// TestDivide checks that what is divided is never more than there is, and that more
// is never less.
func TestDivide(t *testing.T) {
	for _, cpus := range []int{1, 4, 64} {
		var last budget
		for limit := range 12_000 {
			b, err := divide(limit, cpus)
			if err != nil {
				if last != (budget{}) {
					t.Fatalf("%d files are too few, fewer were not: %v", limit, err)
				}
				continue
			}
			own := limit - b.flights*perFlight - b.conns*perConn
			if own < ownFiles+2*cpus || b.flights < 1 || b.conns < minConns || b.flights < last.flights {
				t.Fatalf("%d files, %d processors: %+v after %+v leave %d", limit, cpus, b, last, own)
			}
			last = b
		}
		if last != (budget{maxFlights, maxConns}) {
			t.Errorf("with many files: %+v", last)
		}
	}
}

// TestRelayed checks that when all of the relay's requests and all of admission's
// hang at one host, none waits for a connection.
func TestRelayed(t *testing.T) {
	for flights := 1; flights <= maxFlights; flights++ {
		have := flights * connsPerFlight * 3 / 4
		if need := 15*flights + 5*relayed(flights); need > have {
			t.Errorf("%d flights: one host has %d connections, needs %d", flights, have, need)
		}
	}
}
