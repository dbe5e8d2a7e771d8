// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package listen

import (
	"net"

	"golang.org/x/sys/unix"
)

// sent returns how many bytes the peer of c has acknowledged, and whether there
// are more that it has not. ok is false if the kernel does not say.
func sent(c *net.TCPConn) (acked uint64, waiting, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false, false
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil || failed != nil {
		return 0, false, false
	}
	return info.Bytes_acked, info.Unacked > 0 || info.Notsent_bytes > 0, true
}
