package popd

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var stock = [][]byte{
	[]byte("Subject: dots\n\n.\n..\n.begin\nthen\n"),
	[]byte("Subject: empty\n\n"),
	[]byte("Subject: lines\r\n\r\none\r\ntwo\r\nthree"),
}

type client struct {
	*testing.T
	conn net.Conn
	in   *bufio.Reader
}

// start serves maildrops until the test ends.
func start(t *testing.T, server *Server) func() *client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return func() *client {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		return &client{t, conn, bufio.NewReader(conn)}
	}
}

func (c *client) send(line string) {
	c.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.Fatal(err)
	}
}

func (c *client) line() string {
	c.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil || !strings.HasSuffix(line, "\r\n") {
		c.Fatalf("read %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (c *client) expect(pattern string) {
	c.Helper()
	if got := c.line(); !match(pattern, got) {
		c.Fatalf("server said %q, want %q", got, pattern)
	}
}

func (c *client) closed() {
	c.Helper()
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.Errorf("at the end: %q, %v", rest, err)
	}
}

func match(pattern, text string) bool {
	ok, err := path.Match(strings.NewReplacer("[", `\[`, "/", "_").Replace(pattern), strings.ReplaceAll(text, "/", "_"))
	return ok && err == nil
}

func server() *Server {
	return &Server{Name: "pop.test", Drops: map[string]*Maildrop{
		"ada": NewMaildrop("open sesame ", stock),
		"bob": NewMaildrop("secret", stock),
	}}
}

func TestDialogue(t *testing.T) {
	text, err := os.ReadFile("testdata/dialogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := server()
	c := start(t, s)()
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "C: "):
			c.send(line[3:])
		case strings.HasPrefix(line, "S: "):
			c.expect(line[3:])
		}
	}
	c.closed()
	if n := s.Drops["ada"].Len(); n != 2 {
		t.Errorf("%d messages are left, want 2", n)
	}
}

func TestLogins(t *testing.T) {
	plain := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	dial := start(t, server())
	for name, login := range map[string]func(*client, string){
		"APOP": func(c *client, stamp string) {
			c.send(fmt.Sprintf("APOP bob %x", md5.Sum([]byte(stamp+"secret"))))
		},
		"PLAIN": func(c *client, _ string) {
			c.send("AUTH PLAIN")
			c.expect("+ ")
			c.send(plain("\x00bob\x00secret"))
		},
		"PLAIN initial": func(c *client, _ string) { c.send("auth plain " + plain("\x00bob\x00secret")) },
		"LOGIN": func(c *client, _ string) {
			c.send("AUTH LOGIN")
			c.expect("+ " + plain("Username:"))
			c.send(plain("bob"))
			c.expect("+ " + plain("Password:"))
			c.send(plain("secret"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial()
			login(c, regexp.MustCompile("<.*>").FindString(c.line()))
			c.expect("+OK logged in, 3 messages")
			c.send("QUIT")
			c.expect("+OK bye, 0 messages deleted")
			c.closed()
		})
	}
}

func TestRefusals(t *testing.T) {
	c := start(t, server())()
	c.line()
	c.send("AUTH")
	for _, want := range []string{"+OK", "PLAIN", "LOGIN", "."} {
		c.expect(want)
	}
	c.send("AUTH CRAM-MD5")
	c.expect("-ERR unknown mechanism")
	c.send(strings.Repeat("x", 5000))
	c.expect("-ERR line too long")
	c.send("AUTH PLAIN")
	c.expect("+ ")
	c.send("*")
	c.expect("-ERR [AUTH] cancelled")
	c.send("AUTH PLAIN !!")
	c.expect("-ERR [AUTH] not base64")
	c.send("APOP bob 00")
	c.expect("-ERR [AUTH] invalid*")
	c.closed()
}

func TestADropUndoesDeletesAndFreesTheMaildrop(t *testing.T) {
	s := server()
	dial := start(t, s)
	c := dial()
	c.line()
	c.send("USER bob\r\nPASS secret\r\nDELE 1\r\nDELE 2\r\nDELE 3") // pipelined
	for _, want := range []string{"+OK", "+OK logged in, 3 messages", "+OK*", "+OK*", "+OK*"} {
		c.expect(want)
	}
	second := dial()
	second.line()
	second.send("USER bob\r\nPASS secret")
	second.expect("+OK")
	second.expect("-ERR [IN-USE]*")
	c.conn.Close()
	for deadline := time.Now().Add(5 * time.Second); ; {
		second.send("USER bob\r\nPASS secret")
		second.expect("+OK")
		if strings.HasPrefix(second.line(), "+OK") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the maildrop is still held")
		}
		time.Sleep(5 * time.Millisecond)
	}
	second.send("STAT")
	second.expect("+OK 3 91")
}

func TestDeletedMessagesArriveAgainOneALogin(t *testing.T) {
	d := NewMaildrop("x", stock)
	first, _ := d.open()
	d.release(map[string]bool{first[0].uid: true, first[1].uid: true})
	if d.Len() != 1 {
		t.Fatalf("%d left", d.Len())
	}
	second, _ := d.open()
	d.release(nil)
	third, _ := d.open()
	d.release(nil)
	fourth, _ := d.open()
	if len(second) != 2 || len(third) != 3 || len(fourth) != 3 {
		t.Errorf("%d, %d, %d messages", len(second), len(third), len(fourth))
	}
	seen := make(map[string]bool)
	for _, m := range append(first, fourth[1:]...) {
		if seen[m.uid] {
			t.Errorf("unique-id %s came twice", m.uid)
		}
		seen[m.uid] = true
	}
}

func TestSamplesTravelWhole(t *testing.T) {
	samples := Samples()
	if len(samples) != 12 {
		t.Errorf("%d samples", len(samples))
	}
	s := &Server{Drops: map[string]*Maildrop{"you": NewMaildrop("x", samples)}}
	c := start(t, s)()
	c.line()
	c.send("USER you\r\nPASS x")
	c.line()
	c.line()
	text := textproto.NewReader(c.in)
	for i, sample := range samples {
		c.send(fmt.Sprintf("RETR %d", i+1))
		c.expect("+OK * octets")
		got, err := text.ReadDotBytes() // turns CRLF into LF
		if err != nil || !bytes.Equal(got, sample) {
			t.Errorf("message %d differs: %d octets, want %d, %v", i+1, len(got), len(sample), err)
		}
	}
}

func TestSilenceEndsASession(t *testing.T) {
	s := server()
	s.Timeout = 20 * time.Millisecond
	c := start(t, s)()
	c.line()
	c.closed()
}
