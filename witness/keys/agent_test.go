// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"example.org/sumlog/internal/checkpoint"
)

// A server is an agent on a socket of this test.
type server struct {
	t      *testing.T
	socket string
	agent  agent.Agent
	ln     net.Listener
	work   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	total int
}

// newServer serves a at SSH_AUTH_SOCK.
func newServer(t *testing.T, a agent.Agent) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, socket: filepath.Join(dir, "s"), agent: a, conns: map[net.Conn]bool{}}
	t.Setenv("SSH_AUTH_SOCK", s.socket)
	s.start()
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	return s
}

func (s *server) start() {
	s.t.Helper()
	ln, err := net.Listen("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ln = ln
	s.work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.total++
			s.mu.Unlock()
			s.work.Go(func() {
				agent.ServeAgent(s.agent, conn)
				conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
	})
}

func (s *server) stop() {
	s.ln.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

// connected is how often somebody connected so far.
func (s *server) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// newKeyring returns an agent with a fresh key and others, and that key's
// fingerprint.
func newKeyring(t *testing.T) (agent.Agent, ed25519.PrivateKey, string) {
	t.Helper()
	ring := agent.NewKeyring()
	first, _ := newKey(t)
	key, fingerprint := newKey(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []any{first, ec, key} {
		if err := ring.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	return ring, key, fingerprint
}

func newKey(t *testing.T) (ed25519.PrivateKey, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, ssh.FingerprintSHA256(blob)
}

func TestAgent(t *testing.T) {
	ring, key, fingerprint := newKeyring(t)
	s := newServer(t, ring)
	spec := "agent:" + fingerprint
	c, err := Load(spec, name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := checkpoint.NewCosigner(name, key)
	if err != nil {
		t.Fatal(err)
	}
	if c.Key().String() != want.Key().String() {
		t.Errorf("the key is %v, want %v", c.Key(), want.Key())
	}
	if _, err := Load(spec, ""); err == nil {
		t.Error("loaded without a name")
	}
	before := s.connected()
	for range 10 {
		cosigns(t, c)
	}
	if n := s.connected() - before; n != 1 {
		t.Errorf("%d connections for signatures one after the other", n)
	}
	if err := Ping(t.Context(), spec); err != nil {
		t.Error(err)
	}

	// Down: an error, soon. Up again: as if nothing had been.
	s.stop()
	if _, err := c.Cosign(cp, 1); !errors.Is(err, ErrAgent) {
		t.Errorf("with the agent down: %v", err)
	}
	if err := Ping(t.Context(), spec); !errors.Is(err, ErrAgent) {
		t.Errorf("Ping with the agent down: %v", err)
	}
	s.start()
	cosigns(t, c)
	// Restarted between two signatures: the connection kept is dead.
	s.stop()
	s.start()
	cosigns(t, c)

	if err := ring.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cosign(cp, 1); !errors.Is(err, ErrAgent) {
		t.Errorf("without the key: %v", err)
	}
	if err := Ping(t.Context(), spec); !errors.Is(err, ErrAgent) {
		t.Errorf("Ping without the key: %v", err)
	}
	if err := Ping(t.Context(), "a file"); err != nil {
		t.Errorf("Ping of a key from a file: %v", err)
	}
}

// TestAgentMany signs more at once than there are connections.
func TestAgentMany(t *testing.T) {
	ring, _, fingerprint := newKeyring(t)
	s := newServer(t, ring)
	c, err := Load("agent:"+fingerprint, name)
	if err != nil {
		t.Fatal(err)
	}
	before := s.connected()
	var wg sync.WaitGroup
	for range 8 * agentConns {
		wg.Go(func() {
			s, err := c.Cosign(cp, 1)
			if err != nil {
				t.Error(err)
				return
			}
			if !c.Key().Verify(cp.Text(), s.Bytes) {
				t.Error("a signature of something else")
			}
		})
	}
	wg.Wait()
	if n := s.connected() - before; n > agentConns {
		t.Errorf("%d connections, want %d at most", n, agentConns)
	}
}

func TestAgentLoadRefuses(t *testing.T) {
	ring, _, _ := newKeyring(t)
	list, err := ring.List()
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ssh.ParsePublicKey(list[1].Blob)
	if err != nil {
		t.Fatal(err)
	}
	_, absent := newKey(t)
	newServer(t, ring)
	for _, c := range []struct{ spec, want string }{
		{"agent:" + absent, "no key"},
		{"agent:", "no key"},
		{"agent:" + strings.TrimPrefix(absent, "SHA256:"), "no key"},
		{"agent:" + ssh.FingerprintSHA256(ec), "ecdsa"},
	} {
		if _, err := Load(c.spec, name); !errors.Is(err, ErrAgent) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.spec, err)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, err := Load("agent:"+absent, name); !errors.Is(err, ErrAgent) || !strings.Contains(err.Error(), "SSH_AUTH_SOCK") {
		t.Errorf("without an agent: %v", err)
	}
}

// A liar lists the keys that it has, and answers requests for signatures as it
// likes.
type liar struct {
	agent.Agent
	sign func(ssh.PublicKey, []byte) (*ssh.Signature, error)
}

func (l *liar) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return l.sign(key, data)
}

// SignWithFlags is what ServeAgent calls.
func (l *liar) SignWithFlags(key ssh.PublicKey, data []byte, _ agent.SignatureFlags) (*ssh.Signature, error) {
	return l.sign(key, data)
}

func (l *liar) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}

func TestAgentLies(t *testing.T) {
	ring, key, fingerprint := newKeyring(t)
	other, _ := newKey(t)
	l := &liar{Agent: ring, sign: ring.Sign}
	newServer(t, l)
	c, err := Load("agent:"+fingerprint, name)
	if err != nil {
		t.Fatal(err)
	}
	good := func(data []byte) []byte { return ed25519.Sign(key, data) }
	for _, lie := range []struct {
		what string
		sign func(data []byte) *ssh.Signature
	}{
		{"by another key", func(data []byte) *ssh.Signature {
			return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: ed25519.Sign(other, data)}
		}},
		{"of another message", func(data []byte) *ssh.Signature {
			return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: good(data[1:])}
		}},
		{"with a flipped bit", func(data []byte) *ssh.Signature {
			b := good(data)
			b[40] ^= 1
			return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: b}
		}},
		{"empty", func([]byte) *ssh.Signature { return &ssh.Signature{Format: ssh.KeyAlgoED25519} }},
		{"longer", func(data []byte) *ssh.Signature {
			return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: append(good(data), 0)}
		}},
		{"with a rest", func(data []byte) *ssh.Signature {
			return &ssh.Signature{Format: ssh.KeyAlgoED25519, Blob: good(data), Rest: []byte{1}}
		}},
		{"of another format", func(data []byte) *ssh.Signature {
			return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: good(data)}
		}},
	} {
		l.sign = func(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) { return lie.sign(data), nil }
		if s, err := c.Cosign(cp, 1); !errors.Is(err, ErrAgent) {
			t.Errorf("a signature %s: %d bytes, %v", lie.what, len(s.Bytes), err)
		}
	}
	l.sign = ring.Sign
	cosigns(t, c)
}

// TestAgentHangs meets an agent that does not answer.
func TestAgentHangs(t *testing.T) {
	ring, _, fingerprint := newKeyring(t)
	free := make(chan struct{})
	var asked atomic.Int64
	l := &liar{Agent: ring, sign: func(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
		asked.Add(1)
		<-free
		return ring.Sign(key, data)
	}}
	newServer(t, l)
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	a, err := findAgentKey(fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	a.limit = 100 * time.Millisecond
	begin := time.Now()
	var wg sync.WaitGroup
	for range 3 * agentConns { // those without a connection wait no longer than the others
		wg.Go(func() {
			if _, err := a.Sign(nil, []byte("x"), crypto.Hash(0)); !errors.Is(err, ErrAgent) {
				t.Errorf("Sign: %v", err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(begin); d > agentTime {
		t.Errorf("it took %v", d)
	}
	if _, err := a.Sign(nil, []byte("x"), crypto.SHA512); err == nil || errors.Is(err, ErrAgent) {
		t.Errorf("of a hash: %v", err)
	}
	// That it hangs is known: nobody waits for it, but for one after a while.
	before := asked.Load()
	if _, err := a.Sign(nil, []byte("x"), crypto.Hash(0)); !errors.Is(err, ErrAgent) || asked.Load() != before {
		t.Errorf("asked %d times more: %v", asked.Load()-before, err)
	}
	release()
	a.limit = agentTime
	a.mu.Lock()
	a.again = time.Time{}
	a.mu.Unlock()
	for range 2 {
		if _, err := a.Sign(nil, []byte("x"), crypto.Hash(0)); err != nil {
			t.Errorf("an agent that is well again: %v", err)
		}
	}
}

// TestAgentMute meets one that does not even list its keys.
func TestAgentMute(t *testing.T) {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // connections wait in its queue
	t.Setenv("SSH_AUTH_SOCK", ln.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Ping(ctx, "agent:SHA256:x"); !errors.Is(err, ErrAgent) {
		t.Errorf("Ping: %v", err)
	}
}

// TestOpenSSH signs with the ssh-agent that most people have, also after it was
// started anew.
func TestOpenSSH(t *testing.T) {
	for _, program := range []string{"ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("OpenSSH is not installed: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	t.Setenv("SSH_AUTH_SOCK", socket)
	key, fingerprint := newKey(t)
	stop := startOpenSSH(t, socket, key)
	c, err := Load("agent:"+fingerprint, name)
	if err != nil {
		t.Fatal(err)
	}
	cosigns(t, c)
	stop()
	if _, err := c.Cosign(cp, 1); !errors.Is(err, ErrAgent) {
		t.Errorf("with the agent down: %v", err)
	}
	startOpenSSH(t, socket, key)
	cosigns(t, c)
}

// startOpenSSH starts ssh-agent with a key and returns what ends it.
func startOpenSSH(t *testing.T, socket string, key ed25519.PrivateKey) (stop func()) {
	t.Helper()
	os.Remove(socket)                                    // left by one that was killed
	cmd := exec.Command("ssh-agent", "-D", "-a", socket) // in the foreground: it ends when it is told to
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(stop)
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, string(pem.EncodeToMemory(block)), 0o600)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		out, err := exec.Command("ssh-add", "-q", path).CombinedOutput()
		if err == nil {
			return stop
		}
		if time.Now().After(end) {
			t.Fatalf("ssh-add: %v: %s", err, out)
		}
	}
}
