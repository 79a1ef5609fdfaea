package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// fuse is a connection that is reset once so many octets have been written to it.
type fuse struct {
	net.Conn
	left int
}

func (f *fuse) Write(p []byte) (int, error) {
	if len(p) < f.left {
		f.left -= len(p)
		return f.Conn.Write(p)
	}
	n, _ := f.Conn.Write(p[:f.left])
	f.left = 0
	f.Conn.(*net.TCPConn).SetLinger(0)
	f.Conn.Close()
	return n, io.ErrClosedPipe
}

// A client that resets at any moment of its handshake or login leaves nothing behind.
func TestResetAnywhereInLogin(t *testing.T) {
	w := newWorld(t, nil)
	for n, whole := 1, false; !whole; n += 23 {
		whole = w.loginUntil(n)
	}
	w.backendsGone(2 * time.Second)
	w.sessionsLeft(0)
	begun, ended := 0, 0
	for _, row := range w.log.rows() {
		switch {
		case strings.HasPrefix(row, "connect"):
			begun++
		case strings.HasPrefix(row, "end by=client"):
			ended++
		case strings.HasPrefix(row, "end"):
			t.Error(row)
		}
	}
	if begun != ended || begun == 0 {
		t.Errorf("%d sessions on record, %d ends of a client's doing", begun, ended)
	}
}

// loginUntil logs in, and reports whether that was done with n octets. Either way the connection is reset.
func (w *world) loginUntil(n int) bool {
	socket, err := net.Dial("tcp", w.pop3s)
	if err != nil {
		w.t.Fatal(err)
	}
	f := &fuse{socket, n}
	conn := tls.Client(f, &tls.Config{InsecureSkipVerify: true})
	reply := make([]byte, 100)
	for _, line := range []string{"", "USER alice\r\n", "PASS wonderland\r\n"} {
		if _, err := io.WriteString(conn, line); err != nil {
			return false
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(reply); err != nil {
			return false
		}
	}
	f.left = 0
	f.Write(nil)
	return true
}

// What is no TLS record ends the session, wherever it comes: behind the handshake it may be somebody in between.
func TestGarbageInsideTLS(t *testing.T) {
	w := newWorld(t, nil)
	all := []string{
		"\x17\x03\x03\x00\x20" + strings.Repeat("x", 32), // not sealed by the key
		"\x17\x03\x03\xff\xff" + strings.Repeat("x", 99), // too long for a record
		"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",       // another hello
		"QUIT\r\n",
		"\x80\x00\xff",
	}
	for i, garbage := range all {
		c := w.login()
		socket := c.conn.(*tls.Conn).NetConn()
		fmt.Fprint(socket, garbage)
		socket.(*net.TCPConn).CloseWrite()
		c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || isTimeout(err) {
			t.Errorf("%q: the session goes on: %q, %v", garbage, rest, err)
		}
		w.rowsWith("end by=client", i+1)
	}
	w.backendsGone(time.Second)
	w.rowsWith("command QUIT", 0)
}

// A flood from one IPv6 host, which has a /64 to itself, takes its own places and no others, and leaves one record.
func TestFloodFromOneIPv6Host(t *testing.T) {
	const places, flood = 5, 200
	w := newWorld(t, func(s *Server) { s.Limits.PerAddress = places })
	v4 := w.pop3s
	w.pop3s = w.listen(ModeTLS, "[::1]:0")
	var inside []*talker
	for range places {
		inside = append(inside, w.login())
	}
	w.toldToGo(errCrowded.farewell)
	var outside []net.Conn
	for range flood {
		conn, err := net.Dial("tcp", w.pop3s)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		outside = append(outside, conn)
	}
	w.await("accepting", 10*time.Second, func() bool { return w.server.Stats().Accepted == places+1+flood })
	if n := w.server.Stats().Sessions; n > places+spareAtAddress {
		t.Errorf("one host that may have %d sessions holds %d", places, n)
	}
	for _, c := range inside {
		c.ask("NOOP", "+OK\r\n")
	}
	w.pop3s, v4 = v4, w.pop3s
	w.login()
	for _, conn := range outside {
		conn.Close()
	}
	inside[0].ask("QUIT", "+OK\r\n")
	w.sessionsLeft(places)
	w.pop3s = v4
	w.login()
	w.stop()
	w.rowsWith(fmt.Sprintf("refused too_many_connections count=%d", 1+flood-spareAtAddress), 1)
}

// toldToGo expects to be let in for one reply alone.
func (w *world) toldToGo(farewell string) {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	c := &talker{t: w.t, conn: conn, r: bufio.NewReader(conn)}
	c.want(farewell + "\r\n")
	c.wantEnd()
}
