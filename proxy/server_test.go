package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLimitPerAddress(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.PerAddress = 2 })
	first := w.dial()
	w.dial()
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	third := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
	third.want(errCrowded.farewell + "\r\n")
	third.wantEnd()
	first.ask("QUIT", "+OK\r\n")
	first.wantEnd()
	w.sessionsLeft(1)
	w.dial().ask("NOOP", "+OK\r\n")
	if refused := w.server.Stats().Refused; refused != 1 {
		t.Errorf("%d refused, want 1", refused)
	}
}

func TestLimitInTotal(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.Sessions = 1 })
	w.dial()
	conn, err := net.Dial("tcp", w.pop3)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	second := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
	second.want("-ERR [SYS/TEMP] too many connections, try again later\r\n")
	second.wantEnd()
}

func TestSilentProbesAreCounted(t *testing.T) {
	w := newWorld(t, nil)
	for range 5 {
		conn, err := net.Dial("tcp", w.pop3)
		if err != nil {
			t.Fatal(err)
		}
		bufio.NewReader(conn).ReadString('\n')
		conn.Close()
	}
	for range 3 {
		conn, err := net.Dial("tcp", w.pop3s)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	w.sessionsLeft(0)
	w.server.probes.flush()
	rows := w.log.rows()
	slices.Sort(rows)
	want := []string{"refused handshake_failed count=3", "refused silent count=5"}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
}

func TestLoopIsRefused(t *testing.T) {
	for _, mode := range []Mode{ModeTLS, ModeSTLS} {
		self := make(chan string, 100)
		w := newWorld(t, func(s *Server) {
			s.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", <-self)
			}
		})
		for range cap(self) {
			self <- map[Mode]string{ModeTLS: w.pop3s, ModeSTLS: w.pop3}[mode]
		}
		conn, err := net.Dial("tcp", w.pop3)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, "-ERR [SYS/") {
			t.Errorf("%s: %q, %v", mode, line, err)
		}
		conn.Close()
		// A connection can be accepted, and dialled on from, before its dialler knows that it has it: then the loop is one longer.
		if n := w.server.Stats().Accepted; n > 20 {
			t.Errorf("%s: %d connections for one loop", mode, n)
		}
	}
}

// The kernel gives one port to two connections that go to different places: that is no loop.
func TestSharedPortIsNoLoop(t *testing.T) {
	client := make(chan net.Addr, 1)
	w := newWorld(t, func(s *Server) {
		backend := s.Backend
		s.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", backend)
			return sharedPort{conn, <-client}, err
		}
	})
	conn, err := net.Dial("tcp", w.pop3)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client <- conn.LocalAddr()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "+OK") {
		t.Errorf("greeting %q, %v", line, err)
	}
}

// sharedPort is a connection whose local end another connection has too.
type sharedPort struct {
	net.Conn
	local net.Addr
}

func (c sharedPort) LocalAddr() net.Addr { return c.local }

func TestShutdownLetsCommandsFinish(t *testing.T) {
	w := newWorld(t, nil)
	busy, idle := w.login(), w.login()
	io.WriteString(busy.conn, "SLOW\r\n")
	time.Sleep(100 * time.Millisecond)
	done := make(chan error)
	go func() { done <- w.server.Shutdown(t.Context()) }()
	idle.want(errShutdown.farewell + "\r\n")
	idle.wantEnd()
	busy.want("+OK\r\n" + errShutdown.farewell + "\r\n")
	busy.wantEnd()
	if err := <-done; err != nil {
		t.Error(err)
	}
	w.rowsWith("end by=proxy shutdown", 2)
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	w := newWorld(t, nil)
	stalled := w.login()
	io.WriteString(stalled.conn, "RETR 2000000\r\n") // 36 MB, of which nobody reads more than this
	stalled.want("+OK\r\n0123456789abcdef\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	w.rowsWith("partial", 1)
	w.rowsWith("end by=", 1)
}

// The backend must be rid of a session within a second of its client, and the other way round.
func TestNeitherSideOutlivesTheOther(t *testing.T) {
	w := newWorld(t, nil)
	client := w.login()
	time.Sleep(2 * quiet)
	client.reset()
	w.backendsGone(time.Second)
	other := w.login()
	time.Sleep(2 * quiet)
	w.backend.close()
	gone := time.Now()
	other.wantEnd()
	if d := time.Since(gone); d > time.Second {
		t.Errorf("the client's connection went after %v", d)
	}
}

func TestLargeBodyArrivesWhole(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	const lines = 200_000
	io.WriteString(c.conn, fmt.Sprintf("RETR %d\r\n", lines))
	c.want("+OK\r\n" + strings.Repeat("0123456789abcdef\r\n", lines) + ".\r\n")
	w.rowsWith(fmt.Sprintf("octets=%d lines=%d", lines*18, lines), 1)
}

// gate is a Recorder whose receipts are good only when it is opened.
type gate struct {
	memoryLog
	open chan struct{}
}

type gated struct{ open chan struct{} }

func (g gated) Wait() error {
	<-g.open
	return nil
}

func (g *gate) Record(ev Event) Receipt {
	g.memoryLog.Record(ev)
	return gated{g.open}
}

func TestNoReplyBeforeItsRecord(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	w := newWorld(t, func(s *Server) { s.Recorder = g })
	c := w.dial()
	io.WriteString(c.conn, "NOOP\r\n")
	c.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if b, err := c.r.ReadByte(); !isTimeout(err) {
		t.Fatalf("a reply began (%q) before its record was kept: %v", b, err)
	}
	close(g.open)
	c.want("+OK\r\n")
}

func TestLogFailureRefuses(t *testing.T) {
	w := newWorld(t, nil)
	running := w.login()
	w.log.fail(fmt.Errorf("disk full: %w", ErrNotRecorded))
	running.ask("STAT", unrecorded+"\r\n")
	running.wantEnd()
	conn, err := net.Dial("tcp", w.pop3)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fresh := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
	fresh.want(unrecorded + "\r\n")
	fresh.wantEnd()
}

func TestLogFailureInsideBody(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	io.WriteString(c.conn, "RETR 3000000\r\n")
	c.want("+OK\r\n0123456789abcdef\r\n")
	w.log.fail(fmt.Errorf("disk full: %w", ErrNotRecorded))
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	rest, err := io.ReadAll(c.r)
	if strings.HasSuffix(string(rest), "\r\n.\r\n") || strings.Contains(string(rest), "-ERR") || isTimeout(err) {
		t.Errorf("an unrecorded message looks whole or is followed by talk: ...%q, %v", rest[max(0, len(rest)-60):], err)
	}
}

func TestSessionIDs(t *testing.T) {
	last := SessionID(0)
	for range 1000 {
		id := NewSessionID(time.Now())
		if id <= last {
			t.Fatalf("%v after %v", id, last)
		}
		last = id
		again, err := ParseSessionID(strings.ToUpper(id.String()))
		if err != nil || again != id || len(id.String()) != 13 {
			t.Fatalf("%v reads as %v, %v", id, again, err)
		}
	}
	for _, bad := range []string{"", "x", "zzzzzzzzzzzzzz", "0000000000000", "zzzzzzzzzzzzz", "ilouilouiloui"} {
		if id, err := ParseSessionID(bad); err == nil {
			t.Errorf("%q reads as %v", bad, id)
		}
	}
}

func TestLimitInTotalSpeaksTLS(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.Sessions = 1 })
	w.dial()
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	second := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
	second.want(errFull.farewell + "\r\n")
	second.wantEnd()
}

func TestLimitPerUser(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.PerUser = 1 })
	first := w.login()
	second := w.dial()
	second.ask("USER alice", "+OK\r\n")
	second.ask("PASS wonderland", errUserFull.farewell+"\r\n")
	second.wantEnd()
	w.rowsWith(`-ERR [SYS/TEMP] local user="alice" mech=USER login=failed too_many_of_user`, 1)
	first.ask("QUIT", "+OK\r\n")
	first.wantEnd()
	w.sessionsLeft(0)
	w.login().ask("STAT", "+OK\r\n")
}

// A backend may take a second login. The session is then one of that user, and of no other.
func TestLimitPerUserWithTwoLogins(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.PerUser = 1 })
	for _, second := range []string{"bob", "ALICE"} {
		c := w.login()
		c.ask("USER "+second, "+OK\r\n")
		c.ask("PASS builder", "+OK\r\n")
		c.ask("QUIT", "+OK\r\n")
		c.wantEnd()
		w.sessionsLeft(0)
	}
	w.login().ask("STAT", "+OK\r\n")
}
