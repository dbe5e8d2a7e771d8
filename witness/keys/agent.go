// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package keys

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const (
	// agentTime bounds a signature, the wait for a connection included. An agent
	// that hangs must not hold the witness's requests for longer than their
	// clients wait.
	agentTime = 5 * time.Second

	// agentRest is how long an agent that hung is left alone; one request then finds
	// out whether it answers again. The others are refused at once, as the witness
	// knows why, instead of after agentTime each.
	agentRest = 10 * time.Second

	// agentConns is how many requests are with the agent at once. OpenSSH's
	// answers one after the other; a token is slower still.
	agentConns = 4
)

// ErrAgent is wrapped by all errors of an ssh-agent that does not answer, or
// does not have the key.
var ErrAgent = errors.New("ssh-agent")

// agentError says what an agent did.
func agentError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrAgent}, args...)...)
}

// An agentKey signs with an Ed25519 key in an ssh-agent. It connects when there
// is something to sign.
type agentKey struct {
	socket string
	blob   ssh.PublicKey
	public ed25519.PublicKey
	limit  time.Duration // of a signature
	slots  chan struct{} // one token for each request under way
	idle   chan net.Conn // connections to use again

	mu    sync.Mutex
	hung  error     // of the last request, if the agent did not answer it
	again time.Time // not to be asked before, if hung
}

// findAgentKey returns the key of a fingerprint, SHA256:…, if the agent has it.
func findAgentKey(fingerprint string) (*agentKey, error) {
	socket, err := agentSocket()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), agentTime)
	defer cancel()
	blob, public, err := lookAgentKey(ctx, socket, fingerprint)
	if err != nil {
		return nil, err
	}
	return &agentKey{
		socket: socket, blob: blob, public: public, limit: agentTime,
		slots: make(chan struct{}, agentConns),
		idle:  make(chan net.Conn, agentConns),
	}, nil
}

func agentSocket() (string, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return "", agentError("SSH_AUTH_SOCK is not set")
	}
	return socket, nil
}

// Ping reports whether the key that spec names, as for [Load], can be used: a
// key that was read from a file always can, one in an ssh-agent if the agent
// answers that it has it. Nothing is signed for that.
func Ping(ctx context.Context, spec string) error {
	fingerprint, ok := strings.CutPrefix(spec, agentPrefix)
	if !ok {
		return nil
	}
	socket, err := agentSocket()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, agentTime)
	defer cancel()
	_, _, err = lookAgentKey(ctx, socket, fingerprint)
	return err
}

// lookAgentKey asks the agent for its keys.
func lookAgentKey(ctx context.Context, socket, fingerprint string) (ssh.PublicKey, ed25519.PublicKey, error) {
	conn, err := dialAgent(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	list, err := client(conn).List()
	if err != nil {
		return nil, nil, agentError("keys: %w", err)
	}
	for _, k := range list {
		// A certificate over the key has another blob and another fingerprint.
		blob, err := ssh.ParsePublicKey(k.Blob)
		if err != nil || ssh.FingerprintSHA256(blob) != fingerprint {
			continue
		}
		if blob.Type() != ssh.KeyAlgoED25519 {
			return nil, nil, agentError("%s: a key of type %s, want %s", fingerprint, blob.Type(), ssh.KeyAlgoED25519)
		}
		public, ok := blob.(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey)
		if !ok {
			return nil, nil, agentError("%s: not an Ed25519 key", fingerprint)
		}
		return blob, public, nil
	}
	return nil, nil, agentError("no key %s among its %d", fingerprint, len(list))
}

// dialAgent connects until the end of ctx, which must have one.
func dialAgent(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, agentError("%w", err)
	}
	if end, ok := ctx.Deadline(); ok {
		conn.SetDeadline(end)
	}
	return conn, nil
}

// client speaks the agent's protocol over conn. Only the two directions are
// handed over: of what it could close, the client would keep a reader running,
// which a deadline for one exchange would end.
func client(conn net.Conn) agent.Agent { return agent.NewClient(struct{ io.ReadWriter }{conn}) }

func (a *agentKey) Public() crypto.PublicKey { return a.public }

// Sign signs a message that is not hashed.
func (a *agentKey) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != 0 {
		return nil, errors.New("ssh-agent: signs messages, not their hashes")
	}
	if err := a.resting(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.limit)
	defer cancel()
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return nil, agentError("%d requests before this one: %w", agentConns, ctx.Err())
	}
	sig, err := a.ask(ctx, message)
	end, _ := ctx.Deadline()
	a.note(err, err != nil && !time.Now().Before(end))
	return sig, err
}

// resting returns why the agent is not asked now. Where it says nil of an agent that
// hung, it says so to one.
func (a *agentKey) resting() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.hung != nil && now.Before(a.again) {
		return a.hung
	}
	a.again = now.Add(a.limit + agentRest)
	return nil
}

// note remembers whether the agent hung.
func (a *agentKey) note(err error, hung bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hung = nil
	if hung {
		a.hung, a.again = err, time.Now().Add(agentRest)
	}
}

// ask asks the agent, on a connection that is there or a new one.
func (a *agentKey) ask(ctx context.Context, message []byte) ([]byte, error) {
	select {
	case conn := <-a.idle:
		sig, err := a.exchange(ctx, conn, message)
		if err == nil {
			return sig, nil
		}
		// The agent may have been restarted since; the others are then as old.
		a.drain()
	default:
	}
	conn, err := dialAgent(ctx, a.socket)
	if err != nil {
		return nil, err
	}
	return a.exchange(ctx, conn, message)
}

// exchange asks for one signature and keeps the connection for the next if all
// went well.
func (a *agentKey) exchange(ctx context.Context, conn net.Conn, message []byte) (sig []byte, err error) {
	if end, ok := ctx.Deadline(); ok {
		err = conn.SetDeadline(end)
	}
	defer func() {
		if err != nil {
			conn.Close()
			return
		}
		select {
		case a.idle <- conn:
		default:
			conn.Close()
		}
	}()
	if err != nil {
		return nil, agentError("%w", err)
	}
	s, err := client(conn).Sign(a.blob, message)
	if err != nil {
		return nil, agentError("%w", err)
	}
	// A signature by another key, or one damaged on a token, would be refused by
	// every client, and might tell of the key.
	if s.Format != ssh.KeyAlgoED25519 || len(s.Rest) > 0 || len(s.Blob) != ed25519.SignatureSize || !ed25519.Verify(a.public, message, s.Blob) {
		return nil, agentError("it gave a signature that is not of the key %s", ssh.FingerprintSHA256(a.blob))
	}
	return s.Blob, nil
}

// drain closes the connections that nobody uses.
func (a *agentKey) drain() {
	for {
		select {
		case conn := <-a.idle:
			conn.Close()
		default:
			return
		}
	}
}
