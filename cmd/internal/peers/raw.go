package peers

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Raw is a POP3 client that keeps every octet of every reply, and sends what it is told to.
type Raw struct {
	Conn     net.Conn // deadlines are set by each call
	Greeting string
	r        *bufio.Reader
	addr     string // the socket's own end, before TLS too
	target   Target
}

// rawTimeout bounds each call of a Raw.
const rawTimeout = 30 * time.Second

// Dial connects and reads the greeting; in mode STLS the session is inside TLS when Dial returns.
func Dial(target Target) (*Raw, error) {
	c, err := Connect(target)
	if err != nil {
		return nil, err
	}
	if err := c.open(); err != nil {
		c.Conn.Close()
		return nil, fmt.Errorf("open a session with %s: %w", target.Addr, err)
	}
	return c, nil
}

// Connect is Dial for who will not wait for the greeting: nothing is read, and in mode STLS nothing sent either.
func Connect(target Target) (*Raw, error) {
	conn, err := net.DialTimeout("tcp", target.Addr, rawTimeout)
	if err != nil {
		return nil, err
	}
	c := &Raw{Conn: conn, r: bufio.NewReader(conn), addr: conn.LocalAddr().String(), target: target}
	if target.Mode != TLS {
		return c, nil
	}
	if err := c.Upgrade(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", target.Addr, err)
	}
	return c, nil
}

func (c *Raw) open() (err error) {
	if c.Greeting, err = c.Line(); err != nil || c.target.Mode != STLS {
		return err
	}
	if reply, err := c.Do("STLS"); err != nil || !OK(reply) {
		return errors.Join(err, fmt.Errorf("STLS: %q", reply))
	}
	return c.Upgrade()
}

// MustDial is Dial that fails the test, and closes with it.
func MustDial(t testing.TB, target Target) *Raw {
	t.Helper()
	c, err := Dial(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	return c
}

// Upgrade starts TLS on the connection.
func (c *Raw) Upgrade() error {
	config, err := c.target.tlsConfig()
	if err != nil {
		return err
	}
	conn := tls.Client(c.Conn, config)
	conn.SetDeadline(time.Now().Add(rawTimeout))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.Conn, c.r = conn, bufio.NewReader(conn)
	return nil
}

func (t Target) tlsConfig() (*tls.Config, error) {
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost", NextProtos: []string{"pop3"}}
	config.RootCAs.AppendCertsFromPEM(pem)
	if t.Own.Cert == "" {
		return config, nil
	}
	own, err := tls.LoadX509KeyPair(t.Own.Cert, t.Own.Key)
	if err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &own, nil // whatever authorities the server names
	}
	return config, nil
}

// Addr is the client's own host:port, as the server sees it.
func (c *Raw) Addr() string { return c.addr }

// Send writes text as it is.
func (c *Raw) Send(text string) error {
	c.Conn.SetWriteDeadline(time.Now().Add(rawTimeout))
	_, err := io.WriteString(c.Conn, text)
	return err
}

// Line reads one line, its end included.
func (c *Raw) Line() (string, error) {
	c.Conn.SetReadDeadline(time.Now().Add(rawTimeout))
	return c.r.ReadString('\n')
}

// Reply reads what follows command, as it came: the status line and, where the command asks for one and the
// status is +OK, the body with its terminator.
func (c *Raw) Reply(command string) (string, error) {
	c.Conn.SetReadDeadline(time.Now().Add(rawTimeout))
	return readReply(c.r, command)
}

func readReply(r *bufio.Reader, command string) (string, error) {
	status, err := r.ReadString('\n')
	if err != nil || !OK(status) || !multiLine(command) {
		return status, err
	}
	var b strings.Builder
	b.WriteString(status)
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == ".\r\n" || line == ".\n" {
			return b.String(), err
		}
	}
}

// Step sends a line whose reply is one line, a challenge perhaps.
func (c *Raw) Step(line string) (string, error) {
	if err := c.Send(line + "\r\n"); err != nil {
		return "", err
	}
	return c.Line()
}

// Do sends command and reads its whole reply.
func (c *Raw) Do(command string) (string, error) {
	if err := c.Send(command + "\r\n"); err != nil {
		return "", err
	}
	return c.Reply(command)
}

// Must is Do that fails the test on an error of the connection.
func (c *Raw) Must(t testing.TB, command string) string {
	t.Helper()
	reply, err := c.Do(command)
	if err != nil {
		t.Fatalf("%s: %v, after %.200q", command, err, reply)
	}
	return reply
}

// Login enters the transaction with USER and PASS, or fails the test.
func (c *Raw) Login(t testing.TB, user, password string) {
	t.Helper()
	if reply := c.Must(t, "USER "+user); !OK(reply) {
		t.Fatalf("USER: %q", reply)
	}
	if reply := c.Must(t, "PASS "+password); !OK(reply) {
		t.Fatalf("PASS: %q", reply)
	}
}

// Rest reads to the end of the connection, which must come cleanly.
func (c *Raw) Rest() (string, error) {
	c.Conn.SetReadDeadline(time.Now().Add(rawTimeout))
	b, err := io.ReadAll(c.r)
	return string(b), err
}

// OK tells whether a reply succeeded.
func OK(reply string) bool { return strings.HasPrefix(reply, "+OK") }

// multiLine tells whether a +OK to command has a body (RFC 1939, RFC 2449).
func multiLine(command string) bool {
	verb, arg, _ := strings.Cut(strings.TrimRight(command, " "), " ")
	switch strings.ToUpper(verb) {
	case "RETR", "TOP", "CAPA":
		return true
	case "LIST", "UIDL", "AUTH":
		return arg == ""
	}
	return false
}

// Content undoes the framing of a RETR or TOP reply: what a client keeps, with its CRLFs.
func Content(reply string) []byte {
	_, body, _ := strings.Cut(reply, "\n")
	body = strings.TrimSuffix(body, ".\r\n")
	return []byte(strings.ReplaceAll(strings.TrimPrefix(body, "."), "\n.", "\n"))
}
