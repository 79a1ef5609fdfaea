package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// 200 connections that drip, half of them before TLS and half after, cost a good session less than 100 ms.
func TestSlowLorisCostsOthersNothing(t *testing.T) {
	w := newWorld(t, func(s *Server) {
		s.Limits = Limits{PerAddress: 1000, Handshake: time.Hour, Login: time.Hour} // nobody goes early
	})
	alone := w.goodSession()
	ctx, cancel := context.WithCancel(t.Context())
	var dripping sync.WaitGroup
	defer dripping.Wait()
	defer cancel()
	for i := range 200 {
		conn, err := net.Dial("tcp", w.pop3s)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		dripping.Go(func() { drip(ctx, conn, i%2 == 0) })
	}
	w.await("dripped on", time.Minute, func() bool { return w.backend.connections() >= 100 })
	if among := w.goodSession(); among-alone > 100*time.Millisecond {
		t.Errorf("a session takes %v alone and %v among 200 slow lorises", alone, among)
	}
}

// drip sends an octet now and then: of a command, or of what never becomes a handshake.
func drip(ctx context.Context, conn net.Conn, inTLS bool) {
	defer conn.Close()
	octet := []byte{0x16}
	if inTLS {
		octet[0] = 'A'
	}
	for ctx.Err() == nil {
		if _, err := conn.Write(octet); err != nil {
			return
		}
		octet[0] = 3
		if inTLS {
			octet[0] = 'A'
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// goodSession returns the median time of a few whole sessions.
func (w *world) goodSession() time.Duration {
	w.t.Helper()
	var took []time.Duration
	for range 9 {
		began := time.Now()
		c := w.login()
		c.ask("STAT", "+OK\r\n")
		c.ask("RETR 1", "+OK\r\n0123456789abcdef\r\n.\r\n")
		c.ask("QUIT", "+OK\r\n")
		c.wantEnd()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// hugeBackend answers LIST with a million lines, RETR 1 with a line of 16 MB and RETR 2 with 40 MB of lines.
func hugeBackend(conn net.Conn) {
	defer conn.Close()
	io.WriteString(conn, "+OK tiny\r\n")
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		w := bufio.NewWriter(conn)
		w.WriteString("+OK\r\n")
		switch lines.Text() {
		case "LIST":
			for i := range 1_000_000 {
				fmt.Fprintf(w, "%d 1234\r\n", i+1)
			}
			w.WriteString(".\r\n")
		case "RETR 1":
			repeat(w, bytes.Repeat([]byte("x"), 16_000), 1000)
			w.WriteString("\r\n.\r\n")
		case "RETR 2":
			repeat(w, []byte(strings.Repeat("0123456789abcdef\r\n", 1000)), 40_000_000/18_000)
			w.WriteString(".\r\n")
		}
		if w.Flush() != nil {
			return
		}
	}
}

func repeat(w io.Writer, p []byte, n int) {
	for range n {
		if _, err := w.Write(p); err != nil {
			return
		}
	}
}

// A million-line LIST, a line of 16 MB and 40 MB to a reader that stalls cost under 16 MB together.
func TestHugeRepliesCostLittleMemory(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var backends sync.WaitGroup
	backends.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			backends.Go(func() { hugeBackend(conn) })
		}
	})
	w := newWorld(t, func(s *Server) { s.Backend = l.Addr().String() })
	before := live()
	list, line, stalled := w.login(), w.login(), w.login()
	var reading sync.WaitGroup
	reading.Go(func() { readBody(t, list, "LIST", 1_000_000) })
	reading.Go(func() { readBody(t, line, "RETR 1", 1) })
	io.WriteString(stalled.conn, "RETR 2\r\n")
	most := watchMemory(&reading)
	if cost := int64(most) - int64(before); cost > 16<<20 {
		t.Errorf("%d kB", cost>>10)
	}
	stalled.conn.(*tls.Conn).NetConn().Close()
	w.rowsWith("partial msg=2", 1)
	l.Close()
	w.stopAfter(&backends)
}

// stopAfter ends the server, and waits for what it leaves.
func (w *world) stopAfter(others *sync.WaitGroup) {
	w.server.Shutdown(context.Background())
	others.Wait()
}

// readBody asks and reads the reply, which has n lines, without keeping it.
func readBody(t *testing.T, c *talker, command string, n int) {
	io.WriteString(c.conn, command+"\r\n")
	c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	lines, partial := -1, false // the status line
	for {
		part, err := c.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			t.Errorf("%s: %v after %d lines", command, err, lines)
			return
		}
		if !partial && string(part) == ".\r\n" {
			break
		}
		if partial = err != nil; !partial {
			lines++
		}
	}
	if lines != n {
		t.Errorf("%s: %d lines, want %d", command, lines, n)
	}
}

// watchMemory returns the most memory in use while others work.
func watchMemory(others *sync.WaitGroup) uint64 {
	done := make(chan struct{})
	go func() { others.Wait(); close(done) }()
	most := live()
	for {
		select {
		case <-done:
			return most
		case <-time.After(20 * time.Millisecond):
			most = max(most, live())
		}
	}
}

// live returns the memory that is in use once the garbage is gone.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
