// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package buckets

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A spread makes the rows that adding one by one makes.
func TestSpread(t *testing.T) {
	for _, items := range []int{0, 1, 15, 16, 17, 1000, 20_000} {
		for _, shift := range []int{0, 2, partShift} {
			t.Run(fmt.Sprintf("%d/%d", items, shift), func(t *testing.T) {
				n := Count(int64(items))
				s := NewSpread(n, func() (*os.File, error) { return os.Create(filepath.Join(t.TempDir(), "spread")) })
				s.shift = shift
				s.parts = make([]part, (n-1)>>shift+1)
				defer s.Close()
				for i := range items {
					if err := s.Add(spread(i), fmt.Append(nil, i)); err != nil {
						t.Fatal(err)
					}
				}
				got := rows{}
				number := uint64(0)
				for b, err := range s.All() {
					if err != nil {
						t.Fatal(err)
					}
					got.Put(number, b.AppendRow(nil, 't', number, n))
					number++
				}
				if want := fill(t, items, 1000); !equalRows(got, want) {
					t.Errorf("%d rows, unlike the %d of one by one", len(got), len(want))
				}
			})
		}
	}
}

func TestSpreadParts(t *testing.T) {
	for _, n := range []uint64{1, 1 << partShift, 1<<partShift + 1, 1 << 40} {
		s := NewSpread(n, nil)
		if len(s.parts) > maxParts || Number(1<<63-1, n)>>s.shift >= uint64(len(s.parts)) || Number(n-1, n)>>s.shift != uint64(len(s.parts)-1) {
			t.Errorf("%d buckets: %d parts of %d bits", n, len(s.parts), s.shift)
		}
	}
}

func TestSpreadFails(t *testing.T) {
	full := errors.New("disk is full")
	s := NewSpread(1, func() (*os.File, error) { return nil, full })
	if err := s.Add(1, bytes.Repeat([]byte("x"), pieceSize)); !errors.Is(err, full) {
		t.Errorf("Add without a file: %v", err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "spread"))
	if err != nil {
		t.Fatal(err)
	}
	s = NewSpread(1, func() (*os.File, error) { return f, nil })
	defer s.Close()
	if err := s.Add(1, bytes.Repeat([]byte("x"), pieceSize)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(10); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.All() {
		if err == nil {
			t.Error("a file that was cut was read without an error")
		}
	}
}
