package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// target is where clients go: a peer, or the backend itself.
type target struct {
	addr string
	tls  *tls.Config // nil is the backend, in clear text
}

// exchange is what a client says, and the octets that must come back. Nil stands for any line that begins with +OK:
// greetings and answers to a login are a peer's own.
type exchange struct{ send, want []byte }

// client is one POP3 session of the load. It holds every octet that comes against what the backend has sent.
type client struct {
	conn net.Conn
	in   []byte // in[r:w] is unread
	r, w int
}

// recordSize is the most that one TLS record brings.
const recordSize = 16 << 10

// patience bounds every wait for a peer; one that takes longer is broken.
const patience = 20 * time.Second

// dial opens a session from the given loopback address (nil for any) and reads the greeting.
func (t target) dial(from net.IP) (*client, error) {
	d := net.Dialer{Timeout: patience}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	conn, err := d.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	if t.tls != nil {
		conn = tls.Client(conn, t.tls)
	}
	c := &client{conn: conn, in: make([]byte, recordSize)}
	if err := c.line(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting: %w", err)
	}
	return c, nil
}

// login opens a session of user.
func (t target) login(user string, from net.IP) (*client, error) {
	c, err := t.dial(from)
	if err != nil {
		return nil, err
	}
	if err := c.play(loginAs(user)); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

func loginAs(user string) []exchange {
	return []exchange{{send: []byte("USER " + user + "\r\n")}, {send: []byte("PASS secret\r\n")}}
}

// play goes through a script, one exchange at a time.
func (c *client) play(script []exchange) error {
	for _, e := range script {
		if err := c.exchange(e); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends, and reads what must come.
func (c *client) exchange(e exchange) error {
	_, err := c.conn.Write(e.send)
	if err == nil && e.want == nil {
		err = c.line()
	} else if err == nil {
		err = c.expect(e.want)
	}
	if err == nil && c.r < c.w {
		err = fmt.Errorf("%q comes behind the reply", c.in[c.r:min(c.w, c.r+32)])
	}
	if err != nil {
		line, _, _ := bytes.Cut(e.send, []byte{'\r'})
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// expect reads want, and nothing else will do.
func (c *client) expect(want []byte) error {
	for at := 0; ; {
		n := min(c.w-c.r, len(want)-at)
		if got := c.in[c.r : c.r+n]; !bytes.Equal(got, want[at:at+n]) {
			return fmt.Errorf("the reply is not what the backend sent, from octet %d to %d: %q", at, at+n, got[:min(n, 64)])
		}
		c.r += n
		if at += n; at == len(want) {
			return nil
		}
		if err := c.fill(); err != nil {
			return fmt.Errorf("after %d octets of %d: %w", at, len(want), err)
		}
	}
}

// line reads a line that begins with +OK.
func (c *client) line() error {
	line, err := c.next()
	if err == nil && !bytes.HasPrefix(line, []byte("+OK")) {
		return fmt.Errorf("the reply is %q", line)
	}
	return err
}

// next returns the next line, good until the next read.
func (c *client) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.in[c.r:c.w], '\n'); i >= 0 {
			line := c.in[c.r : c.r+i+1]
			c.r += i + 1
			return line, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// capabilities asks for them and reads the list, which each peer composes in its own way.
func (c *client) capabilities() error {
	if err := c.exchangeLoosely("CAPA\r\n"); err != nil {
		return fmt.Errorf("CAPA: %w", err)
	}
	for {
		line, err := c.next()
		if err != nil || string(line) == ".\r\n" {
			return err
		}
	}
}

func (c *client) exchangeLoosely(send string) error {
	if _, err := io.WriteString(c.conn, send); err != nil {
		return err
	}
	return c.line()
}

// fill reads more behind what is unread.
func (c *client) fill() error {
	if c.r > 0 {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.in) {
		return errors.New("a line has no end")
	}
	c.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := c.conn.Read(c.in[c.w:])
	if c.w += n; n > 0 {
		return nil // an error comes again
	}
	return err
}

// quit ends the session in good order and waits until the other side has closed.
func (c *client) quit() error {
	defer c.conn.Close()
	if err := c.exchange(exchange{send: []byte("QUIT\r\n")}); err != nil {
		return err
	}
	if err := c.fill(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("after QUIT the connection goes on: %w", err)
	}
	return nil
}

// errCipher tells that a peer does not speak the TLS that all are to be compared by.
var errCipher = errors.New("the TLS is not TLS 1.3, X25519, AES-128-GCM with the common certificate")

// forgetful keeps no session. A client without any such cache does not ask for tickets, and then crypto/tls sends none
// while OpenSSL sends two all the same: Postern would have less to do than those it is measured by.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// clientTLS speaks the one TLS that is compared, and holds every handshake to it. It asks for tickets, as mail clients
// do, and resumes no session.
func clientTLS(certificate []byte) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection wants the one certificate
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
		ClientSessionCache: forgetful{},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.Version != tls.VersionTLS13 || cs.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || cs.CurveID != tls.X25519 ||
				cs.DidResume || !bytes.Equal(cs.PeerCertificates[0].Raw, certificate) {
				return fmt.Errorf("%w: %s, %s, %s", errCipher, tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite), cs.CurveID)
			}
			return nil
		},
	}
}
