package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestTenThousandPipelinedCommands(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c.conn, strings.Repeat("NOOP\r\n", 10_000))
		sent <- err
	}()
	c.want(strings.Repeat("+OK\r\n", 10_000))
	if err := <-sent; err != nil {
		t.Error(err)
	}
	w.rowsWith("command NOOP +OK", 10_000)
}

// Before login a hundred commands are enough, and twenty that are refused at any time: each is a record.
func TestTooManyErrors(t *testing.T) {
	w := newWorld(t, nil)
	early := w.dial()
	io.WriteString(early.conn, strings.Repeat("NOOP\r\n", 200))
	early.want(strings.Repeat("+OK\r\n", maxEarly) + errTooMany.farewell + "\r\n")
	early.wantEnd()
	refused := w.login()
	io.WriteString(refused.conn, strings.Repeat("\r\n", 200))
	refused.want(strings.Repeat("-ERR empty command\r\n", maxRefusals))
	refused.wantEnd()
	w.rowsWith("end by=client too_many_errors", 2)
}

func TestClientThatNeverReadsIsEnded(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.Write = 500 * time.Millisecond })
	c := w.login()
	go io.WriteString(c.conn, strings.Repeat("RETR 100000\r\n", 1000))
	w.rowsWith("end by=client stalled", 1)
}

// A reset is noticed behind a pipeline that fills the read buffer, while the backend thinks.
func TestResetBehindPipeline(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	io.WriteString(c.conn, "HANG\r\n"+strings.Repeat("NOOP\r\n", 2000))
	time.Sleep(100 * time.Millisecond)
	c.reset()
	w.backendsGone(2 * time.Second)
	w.rowsWith("end by=client reset", 1)
}

func TestBackendLostInsideAUTH(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial()
	c.ask("AUTH PLAIN", "+ \r\n")
	time.Sleep(2 * quiet)
	w.backend.close()
	c.want(gone + "\r\n")
	c.wantEnd()
	w.rowsWith("end by=backend closed", 1)
}

func TestBackendLostWhileTheClientDrips(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			c.conn.Write([]byte{'x'})
			time.Sleep(quiet / 2)
		}
	}()
	time.Sleep(2 * quiet)
	w.backend.close()
	c.wantEnd()
	w.rowsWith("end by=backend closed", 1)
}

func TestShutdownDoesNotWaitForTheBackend(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	io.WriteString(c.conn, "HANG\r\n")
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := w.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("shutdown took %v", d)
	}
	w.rowsWith("end by=proxy shutdown", 1)
}

// A reader that takes a little now and then is no stalled one, however large the write.
func TestSlowReaderIsBorne(t *testing.T) {
	near, far := net.Pipe()
	const limit = 300 * time.Millisecond
	k := &socket{Conn: near, limit: limit}
	message := bytes.Repeat([]byte("x"), 4000)
	written := make(chan error, 1)
	go func() {
		_, err := k.Write(message)
		near.Close()
		written <- err
	}()
	var got []byte
	for buf := make([]byte, 500); ; {
		n, err := far.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			break
		}
		time.Sleep(limit / 3)
	}
	if err := <-written; err != nil || !bytes.Equal(got, message) {
		t.Errorf("%d of %d octets arrived: %v", len(got), len(message), err)
	}
}

// Writes that crypto/tls makes by itself, long after the last reply, have a deadline of their own.
func TestOldDeadlineEndsNoWrite(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	k := &socket{Conn: near, limit: time.Second}
	defer near.Close()
	near.SetWriteDeadline(past)
	go io.Copy(io.Discard, far)
	if _, err := k.Write([]byte("key update")); err != nil {
		t.Error(err)
	}
}

func TestOneAddressCannotTakeAllPlaces(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.Sessions, s.Limits.PerAddress = 50, 5 })
	for range 40 {
		conn, err := net.Dial("tcp", w.pop3s)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	w.await("accepting", 10*time.Second, func() bool { return w.server.Stats().Accepted == 40 })
	if n := w.server.Stats().Sessions; n > 5+spareAtAddress {
		t.Errorf("one address that may have 5 sessions holds %d", n)
	}
}

func TestPrefixOf(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		one  bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
	} {
		if one := prefixOf(netip.MustParseAddr(tt.a)) == prefixOf(netip.MustParseAddr(tt.b)); one != tt.one {
			t.Errorf("%s and %s counted as one: %v", tt.a, tt.b, one)
		}
	}
}

// A status line that drips is given up when the whole reply is late, not when the drip stops.
func TestDrippingStatusLineIsGivenUp(t *testing.T) {
	w := newWorld(t, func(s *Server) { s.Limits.Reply = 700 * time.Millisecond })
	c := w.login()
	c.ask("DRIP", gone+"\r\n")
	c.wantEnd()
	w.rowsWith("by=backend timeout", 1)
}
