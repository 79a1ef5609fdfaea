package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// downgrade is a backend, or somebody before it, that would rather not speak TLS.
type downgrade struct {
	name, reason string
	capa, stls   string // its replies; what follows the line end of stls came with it
	afterwards   string // said in place of a handshake
}

var downgrades = []downgrade{
	{name: "no STLS in CAPA", reason: "no_stls", capa: "+OK\r\nUSER\r\nSTLSX\r\n.\r\n"},
	{name: "CAPA refused", reason: "no_stls", capa: "-ERR what\r\n"},
	{name: "STLS refused", reason: "no_stls", capa: "+OK\r\nSTLS\r\n.\r\n", stls: "-ERR not today\r\n"},
	{name: "injection", reason: "stls_injection", capa: "+OK\r\nSTLS\r\n.\r\n", stls: "+OK go\r\n+OK logged in\r\n"},
	{name: "half a line injected", reason: "stls_injection", capa: "+OK\r\nstls\r\n.\r\n", stls: "+OK go\r\n+"},
	{name: "garbage for a handshake", reason: "tls_failed", capa: "+OK\r\nSTLS\r\n.\r\n", stls: "+OK go\r\n",
		afterwards: "HTTP/1.0 400 Bad Request\r\n\r\n"},
	{name: "TLS alert", reason: "tls_failed", capa: "+OK\r\nSTLS\r\n.\r\n", stls: "+OK go\r\n", afterwards: "\x15\x03\x03\x00\x02\x02\x28"},
	{name: "stalled handshake", reason: "tls_failed", capa: "+OK\r\nSTLS\r\n.\r\n", stls: "+OK go\r\n"},
	{name: "no reply to CAPA that makes sense", reason: "no_stls", capa: "hello\r\n"},
}

// TestDowngrade has a backend, or somebody before it, talk the proxy out of TLS: required means required.
func TestDowngrade(t *testing.T) {
	for _, d := range downgrades {
		t.Run(d.name, func(t *testing.T) {
			heard := make(chan string, 1)
			l := listenOnce(t, func(conn net.Conn) {
				heard <- d.play(conn)
			})
			w := newWorld(t, func(s *Server) {
				s.Backend = l.Addr().String()
				s.BackendSecurity = SecuritySTLS
				s.BackendTLS = &tls.Config{InsecureSkipVerify: true}
				s.Limits.Handshake = time.Second
			})
			conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "USER alice\r\nPASS wonderland\r\n")
			c := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
			c.want(unavailable + "\r\n")
			c.wantEnd()
			w.rowsWith("by=backend "+d.reason, 1)
			w.rowsWith("backend text=", 1)
			if got := <-heard; strings.Contains(got, "alice") || strings.Contains(got, "wonderland") {
				t.Errorf("the backend heard %q", got)
			}
		})
	}
}

// play speaks as the backend and returns all that it heard.
func (d *downgrade) play(conn net.Conn) string {
	var heard bytes.Buffer
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	lines := bufio.NewReader(io.TeeReader(conn, &heard))
	io.WriteString(conn, "+OK old\r\n")
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return heard.String()
		case line == "CAPA\r\n":
			io.WriteString(conn, d.capa)
		case line == "STLS\r\n":
			io.WriteString(conn, d.stls)
			if d.afterwards != "" {
				lines.Peek(1) // the client's hello
				io.WriteString(conn, d.afterwards)
			}
		}
	}
}

func listenOnce(t *testing.T, serve func(net.Conn)) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l
}

// secureBackend is a tinyBackend behind TLS, by STLS or from the first octet, of at most these versions.
func secureBackend(t *testing.T, how Security, version uint16) (address string, config *tls.Config) {
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: version}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serveSecure(conn, how, server) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	roots := x509.NewCertPool()
	roots.AddCert(cert.Leaf)
	return l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: cert.Leaf.DNSNames[0], MinVersion: tls.VersionTLS10,
		ClientSessionCache: tls.NewLRUClientSessionCache(4)}
}

func serveSecure(conn net.Conn, how Security, config *tls.Config) {
	defer conn.Close()
	if how == SecuritySTLS {
		io.WriteString(conn, "+OK tiny\r\n")
		conn.Read(make([]byte, 64))
		io.WriteString(conn, "+OK\r\nSTLS\r\n.\r\n")
		conn.Read(make([]byte, 64))
		io.WriteString(conn, "+OK go\r\n")
		inner := tls.Server(conn, config)
		(&tinyBackend{}).serve(greeted{Conn: inner, skip: new(bool)})
		return
	}
	(&tinyBackend{}).serve(tls.Server(conn, config))
}

// greeted leaves the first write out: after STLS there is no second greeting.
type greeted struct {
	net.Conn
	skip *bool
}

func (g greeted) Write(p []byte) (int, error) {
	if !*g.skip {
		*g.skip = true
		return len(p), g.Conn.(*tls.Conn).Handshake()
	}
	return g.Conn.Write(p)
}

// TestSecureBackend reads through a backend's leg in TLS, twice: the second session is resumed.
func TestSecureBackend(t *testing.T) {
	for _, how := range []Security{SecuritySTLS, SecurityTLS} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(string(how)+" "+tls.VersionName(version), func(t *testing.T) {
				w := newWorld(t, func(s *Server) {
					s.BackendSecurity = how
					s.Backend, s.BackendTLS = secureBackend(t, how, version)
				})
				for range 2 {
					began := time.Now()
					c := w.login()
					c.ask("RETR 30000", "+OK\r\n"+strings.Repeat("0123456789abcdef\r\n", 30000)+".\r\n")
					c.ask("NOOP", "+OK\r\n")
					c.ask("QUIT", "+OK\r\n")
					c.wantEnd()
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("took %v", took)
					}
				}
				w.sessionsLeft(0)
				w.rowsWith("by=client quit", 2)
				w.checkFacts(how, version)
			})
		}
	}
}

func (w *world) checkFacts(how Security, version uint16) {
	w.t.Helper()
	var resumed []bool
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	for _, ev := range w.log.events {
		if ev.Kind != KindConnect {
			continue
		}
		f := ev.BackendTLS
		if f == nil {
			w.t.Fatal("no facts of the backend's leg")
		}
		if f.Version != tls.VersionName(version) || f.Cipher == "" || f.Serial == "" || f.Handshake <= 0 ||
			f.Verified != "name:"+w.server.BackendTLS.ServerName || f.Legacy {
			w.t.Errorf("facts %+v", *f)
		}
		resumed = append(resumed, f.Resumed)
	}
	if len(resumed) != 2 || resumed[0] || !resumed[1] {
		w.t.Errorf("resumed: %v, want [false true]", resumed)
	}
}

// TestUnverifiedBackend refuses a backend whose certificate does not stand the test.
func TestUnverifiedBackend(t *testing.T) {
	w := newWorld(t, func(s *Server) {
		s.BackendSecurity = SecurityTLS
		s.Backend, s.BackendTLS = secureBackend(t, SecurityTLS, tls.VersionTLS13)
		s.BackendTLS.ServerName = "another.example"
	})
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.want(unavailable + "\r\n")
	c.wantEnd()
	w.rowsWith("another.example", 2) // the backend's fate and the session's
}

// TestUnaskedReplyInsideTLS comes in the same record as the reply before it, so that no socket shows it.
func TestUnaskedReplyInsideTLS(t *testing.T) {
	cert, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	l := listenOnce(t, func(conn net.Conn) {
		inner := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
		io.WriteString(inner, "+OK tiny\r\n")
		bufio.NewReader(inner).ReadString('\n')
		io.WriteString(inner, "+OK\r\n"+strings.Repeat(" ", 3000)+"\r\n+OK forged\r\n")
		io.Copy(io.Discard, inner)
	})
	w := newWorld(t, func(s *Server) {
		s.Backend, s.BackendSecurity = l.Addr().String(), SecurityTLS
		s.BackendTLS = &tls.Config{InsecureSkipVerify: true}
	})
	c := w.dial()
	io.WriteString(c.conn, "USER alice\r\nPASS wonderland\r\n")
	all, _ := io.ReadAll(c.r)
	if strings.Contains(string(all), "forged") || strings.Count(string(all), "+OK") > 1 {
		t.Errorf("the client got %q", all)
	}
	w.rowsWith("framing_uncertain", 2)
}
