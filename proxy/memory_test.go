package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// memoryPipe returns two ends of a connection in memory that behaves as TCP does: writes are buffered, each
// direction closes by itself, an end may be reset. It works in a synctest bubble.
func memoryPipe() (a, b *memoryConn) {
	there, back := newStream(), newStream()
	return &memoryConn{r: back, w: there}, &memoryConn{r: there, w: back}
}

type memoryConn struct{ r, w *stream }

func (c *memoryConn) Read(p []byte) (int, error)  { return c.r.read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.w.write(p) }

func (c *memoryConn) CloseWrite() error {
	c.w.fail(io.EOF, syscall.EPIPE)
	return nil
}

func (c *memoryConn) Close() error {
	c.w.fail(io.EOF, net.ErrClosed)
	c.r.fail(net.ErrClosed, syscall.EPIPE)
	return nil
}

func (c *memoryConn) reset() {
	c.w.fail(syscall.ECONNRESET, net.ErrClosed)
	c.r.fail(net.ErrClosed, syscall.ECONNRESET)
	c.w.drop()
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.r.setDeadline(t)
	return nil
}
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil } // writes never block
func (c *memoryConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }

// Waiting and Broken tell what a socket would.
func (c *memoryConn) Waiting() bool {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.r.buf.Len() > 0
}

func (c *memoryConn) Broken() bool {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.r.readErr == syscall.ECONNRESET
}

// Notify calls f once there is something to read.
func (c *memoryConn) Notify(f func()) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.r.notify = f
	c.r.tellLocked()
}

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

// stream is one direction.
type stream struct {
	mu       sync.Mutex
	changed  *sync.Cond
	buf      bytes.Buffer
	readErr  error // once buf is empty
	writeErr error
	deadline time.Time
	timer    *time.Timer
	notify   func() // to be called once when there is something to read
}

func (s *stream) tellLocked() {
	if s.notify != nil && (s.buf.Len() > 0 || s.readErr != nil) {
		go s.notify()
		s.notify = nil
	}
}

func newStream() *stream {
	s := &stream{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr == net.ErrClosed:
			return 0, s.readErr
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		case s.buf.Len() > 0:
			return s.buf.Read(p)
		case s.readErr != nil:
			return 0, s.readErr
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	s.changed.Broadcast()
	defer s.tellLocked()
	return s.buf.Write(p)
}

func (s *stream) fail(read, write error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil || read == net.ErrClosed {
		s.readErr = read
	}
	if s.writeErr == nil {
		s.writeErr = write
	}
	s.changed.Broadcast()
	s.tellLocked()
}

func (s *stream) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Reset()
}

func (s *stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if until := time.Until(t); !t.IsZero() && until > 0 {
		s.timer = time.AfterFunc(until, s.changed.Broadcast)
	}
	s.changed.Broadcast()
}

// memoryLog is a Recorder that keeps everything, or refuses.
type memoryLog struct {
	mu     sync.Mutex
	events []Event
	broken error
}

func (l *memoryLog) Record(ev Event) Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return kept{l.broken}
	}
	l.events = append(l.events, ev)
	return kept{}
}

func (l *memoryLog) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func (l *memoryLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = err
}

type kept struct{ err error }

func (k kept) Wait() error { return k.err }

// rows returns a line for each event.
func (l *memoryLog) rows() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return rowsOf(l.events)
}

func rowsOf(events []Event) (rows []string) {
	for _, ev := range events {
		rows = append(rows, summary(ev))
	}
	return rows
}

// summary writes what matters of an event in one line: its kind and name, then what applies.
func summary(ev Event) string {
	words := []string{string(ev.Kind)}
	add := func(format string, v any, zero bool) {
		if !zero {
			words = append(words, fmt.Sprintf(format, v))
		}
	}
	add("%s", ev.Verb, ev.Verb == "")
	add("%q", ev.Arg, ev.Arg == "")
	add("%s", ev.Status, ev.Status == "")
	add("[%s]", ev.Code, ev.Code == "")
	add("text=%q", ev.Text, ev.Text == "" || ev.Local || ev.Kind == KindConnect)
	add("local", nil, !ev.Local)
	add("partial", nil, !ev.Partial)
	add("msg=%d", ev.Message, ev.Message == 0)
	add("uid=%s", ev.UID, ev.UID == "")
	add("announced=%d", ev.Announced, ev.Announced == 0)
	add("octets=%d", ev.Octets, ev.Octets == 0)
	add("lines=%d", ev.Lines, ev.Lines == 0)
	add("user=%q", ev.User, ev.User == "")
	add("mech=%s", ev.Mechanism, ev.Mechanism == "")
	add("login=%s", ev.Login, ev.Login == "")
	add("by=%s", ev.Side, ev.Side == "")
	add("%s", ev.Detail, ev.Detail == "")
	add("count=%d", ev.Count, ev.Count == 0)
	if m := ev.Mail; m != nil {
		add("sha256=%s", m.SHA256, m.SHA256 == "")
		add("id=%q", m.MessageID, m.MessageID == "")
		add("from=%q", m.From, m.From == "")
		add("date=%q", m.Date, m.Date == "")
		add("subject=%q", m.Subject, m.Subject == "")
	}
	add("%s", "tls", ev.TLS == nil)
	return strings.ReplaceAll(strings.Join(words, " "), "%!(EXTRA <nil>)", "")
}

var testCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
})

func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"pop3"}}
}
