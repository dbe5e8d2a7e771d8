// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package tlogclient

import (
	"context"
	"net"
)

// SetDial makes dial decide where names lead.
func (h *HTTP) SetDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	h.transport.DialContext = dial
}

// Cap returns how much memory b keeps.
func (b *Buffer) Cap() int { return cap(b.data) }
