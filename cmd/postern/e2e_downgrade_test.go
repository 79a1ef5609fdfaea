package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/cmd/internal/peers"
)

// attacker stands where the backend should be, on one connection. Its certificate is good: TLS with it would come up,
// had the rest been right.
type attacker struct {
	conn   net.Conn
	lines  *bufio.Reader
	config *tls.Config
}

// attackWith plays script to every connection, until the test ends, and returns the wire that leads to it.
func attackWith(t *testing.T, pair peers.Pair, script func(*attacker)) *peers.Tap {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var playing sync.WaitGroup
	playing.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(2 * patience))
			config := &tls.Config{Certificates: []tls.Certificate{certificate}}
			playing.Go(func() {
				defer conn.Close()
				script(&attacker{conn, bufio.NewReader(conn), config})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		playing.Wait()
	})
	return peers.NewTap(t, l.Addr().String()) // ended before: it ends the connections
}

func (a *attacker) say(text string) { io.WriteString(a.conn, text) }

// hear takes one line, and tells whether it is want.
func (a *attacker) hear(want string) bool {
	line, _ := a.lines.ReadString('\n')
	return line == want+"\r\n"
}

// offer greets and offers STLS.
func (a *attacker) offer() bool {
	a.say("+OK ready\r\n")
	if !a.hear("CAPA") {
		return false
	}
	a.say("+OK\r\nUSER\r\nSTLS\r\n.\r\n")
	return a.hear("STLS")
}

// hello waits for the first octets of a handshake.
func (a *attacker) hello() { a.lines.Peek(1) }

// playAlong takes everything, as who wants a password to come does.
func (a *attacker) playAlong() {
	for {
		if _, err := a.lines.ReadString('\n'); err != nil {
			return
		}
		a.say("+OK\r\n")
	}
}

// secure plays along inside TLS.
func (a *attacker) secure() {
	conn := tls.Server(buffered{a.conn, a.lines}, a.config)
	if conn.Handshake() != nil {
		return
	}
	inside := &attacker{conn, bufio.NewReader(conn), nil}
	inside.say("+OK\r\n")
	inside.playAlong()
}

// buffered is a connection of which some has been read ahead.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// attackCase is what somebody in between may try, and what becomes of the session.
type attackCase struct {
	name    string
	script  func(*attacker)
	reasons []string
	words   string
}

var stlsAttacks = []attackCase{
	{"STLS is refused", func(a *attacker) {
		a.offer()
		a.say("-ERR not today\r\n")
		a.playAlong()
	}, []string{"no_stls"}, "not today"},
	{"STLS is not offered", func(a *attacker) {
		a.say("+OK ready\r\n")
		a.hear("CAPA")
		a.say("+OK\r\nUSER\r\nXSTLS\r\n.\r\n")
		a.playAlong()
	}, []string{"no_stls"}, "STLS"},
	{"nothing is offered", func(a *attacker) {
		a.say("+OK ready\r\n")
		a.hear("CAPA")
		a.say("+OK\r\n.\r\n")
		a.playAlong()
	}, []string{"no_stls"}, "STLS"},
	{"CAPA is refused", func(a *attacker) { // CVE-2021-22946
		a.say("+OK ready\r\n")
		a.hear("CAPA")
		a.say("-ERR unknown command\r\n")
		a.playAlong()
	}, []string{"no_stls"}, "STLS"},
	{"CAPA is not answered", func(a *attacker) {
		a.say("+OK ready\r\n")
		io.Copy(io.Discard, a.lines)
	}, []string{"unavailable"}, "timeout"},
	{"replies are injected", func(a *attacker) { // CVE-2021-22947
		a.offer()
		a.say("+OK begin\r\n+OK logged in\r\n+OK 0 messages\r\n")
		a.secure()
	}, []string{"stls_injection"}, "before TLS"},
	{"half a reply is injected", func(a *attacker) {
		a.offer()
		a.say("+OK begin\r\n+")
		a.secure()
	}, []string{"stls_injection"}, "before TLS"},
	{"replies are injected a little later", func(a *attacker) {
		a.offer()
		a.say("+OK begin\r\n")
		a.say("+OK logged in\r\n")
		a.secure()
	}, []string{"stls_injection", "tls_failed"}, ""},
	{"all is said at once", func(a *attacker) {
		a.say("+OK ready\r\n+OK\r\nSTLS\r\n.\r\n+OK begin\r\n+OK logged in\r\n")
		a.hear("CAPA")
		a.hear("STLS")
		a.secure()
	}, []string{"unavailable"}, "framing_uncertain"},
	{"garbage", func(a *attacker) {
		a.offer()
		a.say("+OK begin\r\n")
		a.hello()
		a.say("HTTP/1.1 400 Bad Request\r\n\r\n")
		a.playAlong()
	}, []string{"tls_failed"}, "does not speak TLS there"},
	{"an alert", func(a *attacker) {
		a.offer()
		a.say("+OK begin\r\n")
		a.hello()
		a.say("\x15\x03\x01\x00\x02\x02\x28")
		a.playAlong()
	}, []string{"tls_failed"}, "backend-tls-min"},
	{"the end", func(a *attacker) {
		a.offer()
		a.say("+OK begin\r\n")
		a.hello()
	}, []string{"tls_failed"}, "backend-tls-min"},
	{"silence", func(a *attacker) {
		a.offer()
		a.say("+OK begin\r\n")
		io.Copy(io.Discard, a.lines)
	}, []string{"tls_failed"}, "in time"},
}

var tlsAttacks = []attackCase{
	{"a greeting in clear text", func(a *attacker) {
		a.say("+OK ready\r\n")
		a.playAlong()
	}, []string{"tls_failed"}, "does not speak TLS there"},
	{"an alert", func(a *attacker) {
		a.hello()
		a.say("\x15\x03\x01\x00\x02\x02\x28")
		a.playAlong()
	}, []string{"tls_failed"}, "backend-tls-min"},
	{"the end", func(a *attacker) { a.hello() }, []string{"tls_failed"}, "backend-tls-min"},
	{"old versions alone", func(a *attacker) {
		a.config.MaxVersion = tls.VersionTLS11
		a.config.MinVersion = tls.VersionTLS10
		a.secure()
	}, []string{"tls_failed"}, "backend-tls-min"},
	{"a certificate is wanted", func(a *attacker) {
		a.config.ClientAuth = tls.RequireAnyClientCert
		a.secure()
	}, []string{"unavailable"}, "backend-cert"},
	{"a certificate is wanted, by TLS 1.2", func(a *attacker) {
		a.config.ClientAuth, a.config.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		a.secure()
	}, []string{"tls_failed"}, "backend-cert"},
	{"silence", func(a *attacker) { io.Copy(io.Discard, a.lines) }, []string{"tls_failed"}, "in time"},
}

// Nobody in between talks the gate out of TLS: the session ends with a reply that clients understand, with its cause
// on record, and nobody hears a user's name.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	pair := authority.Issue(t, peers.Leaf{})
	alice := peers.Account{User: "alice", Password: "e2e downgrade 6Jb8"}
	for security, attacks := range map[string][]attackCase{"stls": stlsAttacks, "tls": tlsAttacks} {
		for _, attack := range attacks {
			t.Run(security+"/"+attack.name, func(t *testing.T) {
				t.Parallel()
				tap := attackWith(t, pair, attack.script)
				g := serve(t, byName(t, tap.Addr), []peers.Account{alice}, "--backend-tls", security,
					"--backend-ca", authority.File, "--timeout-handshake", "1s", "--timeout-reply", "1s")
				end := g.turnedAway(t, alice)
				if !slices.Contains(attack.reasons, end.Detail) {
					t.Errorf("recorded as %s by %s, %q; want %q", end.Detail, end.Side, end.Text, attack.reasons)
				}
				checkEnd(t, end, end.Detail, attack.words)
				for _, sent := range tap.Sent() {
					if strings.Contains(strings.ToLower(sent), "alice") {
						t.Errorf("the attacker was sent %q", sent)
					}
				}
				checkSealed(t, tap.Sent())
			})
		}
	}
}

// The attacks are no straw men: without TLS to be talked out of, the gate goes on, and the attacker has the password.
func TestDowngradeOfNothing(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e downgrade 1Mx3"}
	tap := attackWith(t, peers.SelfSigned(t, peers.Leaf{}), func(a *attacker) {
		a.say("+OK ready\r\n")
		a.playAlong()
	})
	g := serve(t, tap.Addr, []peers.Account{alice}, "--backend-tls", "plain")
	c := peers.MustDial(t, g.target(peers.TLS, alice))
	c.Login(t, alice.User, alice.Password)
	c.Must(t, "QUIT")
	if sent := strings.Join(tap.Sent(), ""); !strings.Contains(sent, "PASS "+alice.Password) {
		t.Errorf("the attacker was sent %q", sent)
	}
}

// A backend that stalls in the handshake is given up in time, and keeps nobody from their mail meanwhile.
func TestStalledBackend(t *testing.T) {
	t.Parallel()
	const limit = 3 * time.Second
	authority := peers.NewAuthority(t)
	pair := authority.Issue(t, peers.Leaf{})
	alice := peers.Account{User: "alice", Password: "e2e stalled backend 4Cq9", Mail: peers.Small(1)}
	backend := peers.SecureDovecot(t, peers.Security{Pair: pair, CAFile: authority.File}, alice)
	stalled := make(chan struct{}, 1)
	var first sync.Once
	tap := attackWith(t, pair, func(a *attacker) {
		stall := false
		first.Do(func() { stall = true })
		if stall {
			a.hello()
			stalled <- struct{}{}
			io.Copy(io.Discard, a.lines)
			return
		}
		a.leadOn(backend.AddrTLS)
	})
	g := serve(t, byName(t, tap.Addr), []peers.Account{alice}, "--backend-tls", "tls", "--backend-ca", authority.File,
		"--timeout-handshake", limit.String())
	began := time.Now()
	ended := make(chan string, 1)
	c, err := peers.Connect(g.target(peers.TLS, alice))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Conn.Close()
	go func() {
		said, _ := c.Rest()
		ended <- said
	}()
	<-stalled
	g.readThrough(t, alice)
	select {
	case said := <-ended:
		t.Errorf("it ended before the other session: %q", said)
	default:
	}
	if said := <-ended; !strings.HasPrefix(said, "-ERR [SYS/TEMP] ") {
		t.Errorf("told %q", said)
	}
	if took := time.Since(began); took < limit || took > limit+2*time.Second {
		t.Errorf("given up after %v, want %v", took, limit)
	}
	records := g.transcript(t, g.sessionOf(t, c))
	checkEnd(t, records[len(records)-1], "tls_failed")
}

// leadOn leads the connection to where it was to go.
func (a *attacker) leadOn(addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(conn, a.lines)
		conn.(*net.TCPConn).CloseWrite()
	})
	io.Copy(a.conn, conn)
	a.conn.Close()
	up.Wait()
}
