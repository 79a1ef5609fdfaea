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
	"sync"
	"testing"
	"time"
)

// world is a Server on loopback sockets with a small real backend behind it.
type world struct {
	t       *testing.T
	server  *Server
	log     *memoryLog
	backend *tinyBackend
	pop3s   string
	pop3    string
	served  sync.WaitGroup
}

func newWorld(t *testing.T, tweak func(*Server)) *world {
	w := &world{t: t, log: &memoryLog{}, backend: newTinyBackend(t)}
	w.server = &Server{Backend: w.backend.l.Addr().String(), Recorder: w.log, TLS: testTLS(t)}
	if tweak != nil {
		tweak(w.server)
	}
	w.pop3s, w.pop3 = w.listen(ModeTLS, "127.0.0.1:0"), w.listen(ModeSTLS, "127.0.0.1:0")
	t.Cleanup(w.stop)
	return w
}

func (w *world) listen(mode Mode, addr string) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.served.Go(func() {
		if err := w.server.Serve(l, mode, string(mode)); !errors.Is(err, ErrServerClosed) {
			w.t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func (w *world) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.server.Shutdown(ctx); err != nil {
		w.t.Error("shutdown:", err)
	}
	w.served.Wait()
	w.backend.close()
}

// dial opens a session over POP3S and takes the greeting.
func (w *world) dial() *talker {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		w.t.Fatal(err)
	}
	c := &talker{t: w.t, conn: conn, r: bufio.NewReader(conn)}
	w.t.Cleanup(func() { conn.Close() })
	c.want("+OK tiny\r\n")
	return c
}

func (w *world) login() *talker {
	w.t.Helper()
	c := w.dial()
	c.ask("USER alice", "+OK\r\n")
	c.ask("PASS wonderland", "+OK\r\n")
	return c
}

// rowsWith waits for the log to hold n rows that contain text.
func (w *world) rowsWith(text string, n int) {
	w.t.Helper()
	var rows []string
	for range 300 {
		rows = slices.DeleteFunc(w.log.rows(), func(r string) bool { return !strings.Contains(r, text) })
		if len(rows) == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("%d rows with %q, want %d:\n%s", len(rows), text, n, strings.Join(w.log.rows(), "\n"))
}

type talker struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (c *talker) want(want string) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
		c.t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

func (c *talker) ask(command, want string) {
	c.t.Helper()
	fmt.Fprintf(c.conn, "%s\r\n", command)
	c.want(want)
}

func (c *talker) wantEnd() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || isTimeout(err) {
		c.t.Fatalf("the connection goes on: %q, %v", rest, err)
	}
}

// reset breaks the connection off.
func (c *talker) reset() {
	socket := c.conn.(*tls.Conn).NetConn().(*net.TCPConn)
	socket.SetLinger(0)
	socket.Close()
}

// await waits until what is so, and fails with the records when that takes too long.
func (w *world) await(what string, limit time.Duration, is func() bool) {
	w.t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > limit {
			w.t.Fatalf("not %s after %v: %+v\n%s", what, limit, w.server.Stats(), strings.Join(w.log.rows(), "\n"))
		}
	}
}

// sessionsLeft waits until the server has no more than n sessions.
func (w *world) sessionsLeft(n int64) {
	w.t.Helper()
	w.await("down in sessions", 10*time.Second, func() bool { return w.server.Stats().Sessions <= n })
}

// backendsGone waits until the server has let all its backend connections go.
func (w *world) backendsGone(limit time.Duration) {
	w.t.Helper()
	w.await("rid of the backend", limit, func() bool { return w.backend.connections() == 0 })
}

// tinyBackend answers every command with +OK; RETR n has a body of n lines, UIDL one, CAPA and TOP have empty ones; SLOW
// answers after a while, HANG never, DRIP octet by octet; AUTH challenges.
type tinyBackend struct {
	l    net.Listener
	mu   sync.Mutex
	open map[net.Conn]bool
	wg   sync.WaitGroup
}

func newTinyBackend(t *testing.T) *tinyBackend {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &tinyBackend{l: l, open: map[net.Conn]bool{}}
	b.wg.Go(b.accept)
	return b
}

func (b *tinyBackend) accept() {
	for {
		conn, err := b.l.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.open[conn] = true
		b.mu.Unlock()
		b.wg.Go(func() {
			b.serve(conn)
			conn.Close()
			b.mu.Lock()
			delete(b.open, conn)
			b.mu.Unlock()
		})
	}
}

// say sends unasked.
func (b *tinyBackend) say(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.open {
		io.WriteString(conn, what)
	}
}

func (b *tinyBackend) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

func (b *tinyBackend) serve(conn net.Conn) {
	io.WriteString(conn, "+OK tiny\r\n")
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		reply := "+OK\r\n"
		switch verb {
		case "RETR":
			var n int
			fmt.Sscan(arg, &n)
			reply += strings.Repeat("0123456789abcdef\r\n", n) + ".\r\n"
		case "CAPA", "TOP":
			reply += ".\r\n"
		case "UIDL":
			if arg == "" {
				reply += "1 a\r\n.\r\n"
			}
		case "SLOW":
			time.Sleep(400 * time.Millisecond)
		case "AUTH":
			reply = "+ \r\n"
		case "HANG":
			continue
		case "DRIP":
			dripStatus(conn)
			continue
		}
		io.WriteString(conn, reply)
		if verb == "QUIT" {
			return
		}
	}
}

// dripStatus writes a status line that never ends, until nobody reads it.
func dripStatus(conn net.Conn) {
	io.WriteString(conn, "+OK ")
	for range 200 {
		time.Sleep(20 * time.Millisecond)
		if _, err := conn.Write([]byte{'x'}); err != nil {
			return
		}
	}
}

func (b *tinyBackend) close() {
	b.l.Close()
	b.mu.Lock()
	for conn := range b.open {
		conn.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}
