package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postern/cmd/internal/peers"
)

// interactive is an openssl that is typed to, on one side of a connection by TLS 1.3: a line that is K alone asks the
// other for new keys.
type interactive struct {
	t      *testing.T
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *logBuffer
}

func typeTo(t *testing.T, args ...string) *interactive {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	cmd := exec.CommandContext(ctx, peers.Need(t, "openssl", "openssl"), append(args, "-tls1_3", "-crlf")...)
	c := &interactive{t: t, stderr: &logBuffer{}}
	cmd.Stderr = c.stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	c.stdin, c.stdout = stdin, bufio.NewReader(stdout)
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	return c
}

// say types a line, in small letters where it is a command: openssl takes large ones for its own.
func (c *interactive) say(line string) { io.WriteString(c.stdin, line+"\n") }

// ask says a command and returns the lines of its reply up to the last.
func (c *interactive) ask(command, last string) string {
	c.t.Helper()
	c.say(command)
	return c.until(last)
}

// until reads to the first line that begins so.
func (c *interactive) until(last string) string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.stdout.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			c.t.Fatalf("%v after %d octets; openssl says %s", err, all.Len(), c.stderr.bytes())
		}
		if strings.HasPrefix(line, last) {
			return all.String()
		}
	}
}

// A client asks for new keys when all is quiet, long after a long write: that is answered, however old the deadlines
// of that write are, and the same mail follows under the new keys.
func TestKeyUpdate(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond
	alice := peers.Account{User: "alice", Password: "e2e key update 4Lg6", Mail: peers.Corpus()}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice}, "--timeout-write", limit.String())
	target := g.target(peers.TLS, alice)
	c := typeTo(t, "s_client", "-connect", target.Addr, "-CAfile", target.CAFile, "-verify_return_error", "-quiet", "-no_ign_eof")
	c.until("+OK")
	c.ask("user "+alice.User, "+OK")
	c.ask("pass "+alice.Password, "+OK")
	first := sha256.Sum256([]byte(c.ask("retr 30", ".\r\n")))
	for updates := 1; updates <= 3; updates++ {
		time.Sleep(2 * limit) // past every deadline of the write
		c.say("K")
		eventually(t, "openssl to ask for new keys", func() bool {
			return strings.Count(string(c.stderr.bytes()), "KEYUPDATE") == updates
		})
		c.ask("noop", "+OK")
		if again := sha256.Sum256([]byte(c.ask("retr 30", ".\r\n"))); again != first {
			t.Error("the message is another one under the new keys")
		}
	}
	c.ask("quit", "+OK")
	if s := g.newest(t); s.Retrieved != 4 || s.EndReason != "quit" {
		t.Errorf("on record: %d retrieved, ended by %s: %s", s.Retrieved, s.EndSide, s.EndReason)
	}
}

// A backend does the same: the next command reaches it under the new keys.
func TestKeyUpdateOfTheBackend(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond
	pair := peers.SelfSigned(t, peers.Leaf{})
	backend := typeTo(t, "s_server", "-msg", "-accept", "127.0.0.1:0", "-cert", pair.Cert, "-key", pair.Key)
	_, addr, _ := strings.Cut(strings.TrimSpace(backend.until("ACCEPT")), " ")
	alice := peers.Account{User: "alice", Password: "e2e key update 9Rq1"}
	g := serve(t, byName(t, addr), []peers.Account{alice}, "--backend-tls", "tls", "--backend-ca", pair.Cert,
		"--timeout-write", limit.String())
	c, err := peers.Connect(g.target(peers.TLS, alice))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	backend.until("---") // the handshake is told of
	backend.say("+OK ready")
	if line, err := c.Line(); err != nil || !peers.OK(line) {
		t.Fatalf("greeting %q, %v", line, err)
	}
	for range 3 {
		time.Sleep(2 * limit) // past every deadline of a write
		backend.say("K")
		backend.until(">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
		if err := c.Send("NOOP\r\n"); err != nil {
			t.Fatal(err)
		}
		backend.until("NOOP")
		backend.say("+OK")
		if line, err := c.Line(); err != nil || !peers.OK(line) {
			t.Fatalf("NOOP: %q, %v", line, err)
		}
	}
}
