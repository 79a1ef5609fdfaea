package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// backed is a world in front of a backend that answers each line by answer, until that says it is over.
func backed(t *testing.T, answer func(conn net.Conn, line string) bool, tweak func(*Server)) *world {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { speak(conn, answer) })
		}
	})
	w := newWorld(t, func(s *Server) {
		s.Backend = l.Addr().String()
		if tweak != nil {
			tweak(s)
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.stopAfter(&running)
	})
	return w
}

// speak greets and lets answer answer all but the login.
func speak(conn net.Conn, answer func(conn net.Conn, line string) bool) {
	defer conn.Close()
	io.WriteString(conn, "+OK tiny\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
		case "USER", "PASS":
			io.WriteString(conn, "+OK\r\n")
		default:
			if !answer(conn, lines.Text()) {
				return
			}
		}
	}
}

// A reply that comes octet by octet arrives as it was sent.
func TestBodyOctetByOctet(t *testing.T) {
	const reply = "+OK\r\nSubject: x\r\n\r\n..\r\n\r.\r\n.x\r\n\x00\nend\r\n.\r\n"
	w := backed(t, func(conn net.Conn, _ string) bool {
		for i := range len(reply) {
			conn.Write([]byte{reply[i]})
			time.Sleep(time.Millisecond)
		}
		return true
	}, nil)
	c := w.login()
	c.ask("RETR 1", reply)
	c.ask("TOP 1 0", reply)
	w.rowsWith("+OK msg=1 octets=33 lines=7", 2)
}

// A message that never ends, to a client that never reads it: neither is kept in memory, and the session ends within
// the limit of a write.
func TestEndlessBodyToAReaderThatStalls(t *testing.T) {
	part := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1000))
	w := backed(t, func(conn net.Conn, _ string) bool {
		io.WriteString(conn, "+OK\r\n")
		for {
			if _, err := conn.Write(part); err != nil {
				return false
			}
		}
	}, func(s *Server) { s.Limits.Write = 500 * time.Millisecond })
	before := live()
	var stalled sync.WaitGroup
	for range 4 {
		c := w.login()
		io.WriteString(c.conn, "RETR 1\r\n")
	}
	stalled.Go(func() {
		for began := time.Now(); w.server.Stats().Sessions > 0 && time.Since(began) < 10*time.Second; {
			time.Sleep(10 * time.Millisecond)
		}
	})
	if cost := int64(watchMemory(&stalled)) - int64(before); cost > 16<<20 {
		t.Errorf("%d kB", cost>>10)
	}
	w.rowsWith("end by=client stalled", 4)
}
