package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postern/proxy/pop3"
)

// What goes out with STAT, of the lines that have been pipelined behind it.
func TestFollow(t *testing.T) {
	many := strings.Repeat("NOOP\r\n", 2*maxRun)
	long := "TOP 1 " + strings.Repeat("0", 504) + "\r\n"
	for _, test := range []struct {
		name, waiting string
		deleted       int
		ahead         int
	}{
		{"nothing", "", 0, 0},
		{"all that is harmless", "NOOP\r\nSTAT\nLIST\r\nLIST 1\r\nuidl\r\nRETR 1\r\nTOP 1 0\r\nDELE 1\r\nRSET\r\nLAST\r\n", 0, 10},
		{"whole lines alone", "NOOP\r\nNOO", 0, 1},
		{"up to QUIT", "NOOP\r\nQUIT\r\nNOOP\r\n", 0, 1},
		{"up to USER", "USER x\r\nNOOP\r\n", 0, 0},
		{"up to PASS", "PASS x\r\nNOOP\r\n", 0, 0},
		{"up to APOP", "APOP x y\r\n", 0, 0},
		{"up to AUTH", "AUTH PLAIN\r\nNOOP\r\n", 0, 0},
		{"up to STLS", "STLS\r\n", 0, 0},
		{"up to CAPA", "CAPA\r\n", 0, 0},
		{"up to UTF8", "UTF8\r\n", 0, 0},
		{"up to what nobody knows", "FROB\r\n", 0, 0},
		{"up to what is forged", "XCLIENT\r\n", 0, 0},
		{"up to an empty line", "\r\nNOOP\r\n", 0, 0},
		{"up to a control octet", "NOOP\x00\r\n", 0, 0},
		{"up to a line that is too long", "NOOP" + strings.Repeat(" ", pop3.MaxCommand) + "\r\n", 0, 0},
		{"up to an odd DELE", "DELE 1x\r\n", 0, 0},
		{"up to a DELE that may be one too many", "NOOP\r\nDELE 1\r\n", maxDeleted - maxRun, 1},
		{"no more commands than a run has", many, 0, maxRun - 1},
		{"no more octets than a run has", long + long, 0, 1},
	} {
		s := &session{
			server: &Server{Rules: Rules{Pipelining: PipeliningOn}}, loggedIn: true,
			client: &client{in: []byte(test.waiting), w: len(test.waiting)},
		}
		for n := range test.deleted {
			s.maildrop.mark(int64(n))
		}
		c, _ := pop3.ParseCommand([]byte("STAT"))
		lines, ahead := s.follow(c, []byte("STAT\r\n"))
		if ahead != test.ahead || strings.Count(string(lines), "\r\n") != 1+ahead || len(lines) > maxRunOctets {
			t.Errorf("%s: %d go out with it, want %d: %q", test.name, ahead, test.ahead, lines)
		}
		if left := string(s.client.pending()); left != test.waiting {
			t.Errorf("%s: %q is left to be answered", test.name, left)
		}
	}
}

func pipelining(s *Server) { s.Rules.Pipelining = PipeliningOn }

// A backend with the smallest buffers there are, which answers each command before it reads the next, and a client that sends
// all it wants before it reads anything: neither waits for the other.
func TestRunOfLargeReplies(t *testing.T) {
	w := backed(t, func(conn net.Conn, line string) bool {
		conn.(*net.TCPConn).SetReadBuffer(1)
		conn.(*net.TCPConn).SetWriteBuffer(1)
		_, err := io.WriteString(conn, "+OK "+line+"\r\n"+strings.Repeat("0123456789abcdef\r\n", 10_000)+".\r\n")
		return err == nil
	}, pipelining)
	c := w.login()
	var commands, replies strings.Builder
	for n := range 80 {
		fmt.Fprintf(&commands, "RETR %d\r\n", n+1)
		fmt.Fprintf(&replies, "+OK RETR %d\r\n%s.\r\n", n+1, strings.Repeat("0123456789abcdef\r\n", 10_000))
	}
	io.WriteString(c.conn, commands.String())
	c.want(replies.String())
	w.rowsWith("octets=180000 lines=10000", 80)
}

// A client that stalls in the first message of a run: the others are on record without a reply.
func TestRunToAReaderThatStalls(t *testing.T) {
	w := newWorld(t, func(s *Server) {
		pipelining(s)
		s.Limits.Write = 500 * time.Millisecond
	})
	c := w.login()
	io.WriteString(c.conn, "RETR 2000000\r\nRETR 2\r\nDELE 3\r\n") // 36 MB that nobody reads
	w.rowsWith("end by=client stalled", 1)
	w.rowsWith("partial msg=2000000", 1)
	w.rowsWith(`command RETR "2" msg=2`, 1)
	w.rowsWith(`command DELE "3" msg=3`, 1)
}

// slowly answers after a while.
func slowly(conn net.Conn, line string) bool {
	time.Sleep(100 * time.Millisecond)
	_, err := io.WriteString(conn, "+OK "+line+"\r\n")
	return err == nil
}

func TestShutdownLetsARunFinish(t *testing.T) {
	w := backed(t, slowly, pipelining)
	c := w.login()
	io.WriteString(c.conn, "STAT\r\nNOOP\r\nDELE 1\r\n")
	time.Sleep(50 * time.Millisecond)
	done := make(chan error)
	go func() { done <- w.server.Shutdown(t.Context()) }()
	c.want("+OK STAT\r\n+OK NOOP\r\n+OK DELE 1\r\n" + errShutdown.farewell + "\r\n")
	c.wantEnd()
	if err := <-done; err != nil {
		t.Error(err)
	}
	w.rowsWith("end by=proxy shutdown", 1)
	w.rowsWith("delete msg=1 rolled_back", 1)
}

func TestShutdownCutsARun(t *testing.T) {
	w := backed(t, func(net.Conn, string) bool { return true }, pipelining)
	c := w.login()
	io.WriteString(c.conn, "STAT\r\nDELE 1\r\nDELE 2\r\n")
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	w.rowsWith(`command DELE "1" msg=1`, 1)
	w.rowsWith(`command DELE "2" msg=2`, 1)
	w.rowsWith("end by=proxy shutdown", 1)
}

// What a backend has announced to one client holds for the others, too.
func TestAnnouncementHoldsForAll(t *testing.T) {
	w := backed(t, func(conn net.Conn, line string) bool {
		switch line {
		case "CAPA":
			io.WriteString(conn, "+OK\r\nPIPELINING\r\n.\r\n")
		case "STAT": // answered behind NOOP alone
		case "NOOP":
			io.WriteString(conn, "+OK 1 1\r\n+OK\r\n")
		}
		return true
	}, nil)
	w.login().ask("CAPA", "+OK\r\nPIPELINING\r\n.\r\n")
	w.login().ask("STAT\r\nNOOP", "+OK 1 1\r\n+OK\r\n")
}

// A backend that went away may come back as another: what it announced is forgotten.
func TestAnnouncementEndsWithTheBackend(t *testing.T) {
	s := &Server{Recorder: &memoryLog{}, TLS: testTLS(t)}
	s.init()
	if s.reach.pipelines.Store(true); !s.pipelines() {
		t.Error("no runs where the backend has announced them")
	}
	if s.lost(io.EOF); s.pipelines() {
		t.Error("runs to a backend that nobody has asked")
	}
}
