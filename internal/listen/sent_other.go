// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

//go:build !linux

package listen

import "net"

// sent is for kernels that say what a peer has acknowledged.
func sent(*net.TCPConn) (acked uint64, waiting, ok bool) { return 0, false, false }
