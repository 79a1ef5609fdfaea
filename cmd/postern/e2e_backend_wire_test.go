package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"postern/cmd/internal/peers"
	"postern/proxy"
)

// Every reply passes octet for octet when the backend's leg is TLS, the greeting by which APOP works too, also when
// the network on both sides delivers one octet at a time.
func TestBackendTLSReplies(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e backend replies 8Jq3", Mail: upTo(8<<10, peers.Corpus())}
	backend := peers.Dovecot(t, alice)
	commands := []string{"CAPA", "NOOP", "FOO", "AUTH", "USER " + alice.User, "PASS " + alice.Password, "STAT", "LIST", "UIDL", "LIST 99",
		"TOP 1 0", "TOP 4 2", "DELE 3", "RETR 3", "RSET", "STAT"}
	for n := range alice.Mail {
		commands = append(commands, fmt.Sprintf("RETR %d", n+1))
	}
	commands = append(commands, "QUIT")
	for _, mode := range []peers.Mode{peers.STLS, peers.TLS} {
		want := dialogue(t, backend.Target(mode, alice), commands)
		for _, dripping := range []bool{false, true} {
			addr := backend.Target(mode, alice).Addr
			if dripping {
				addr = peers.Trickle(t, addr)
			}
			g := serve(t, byName(t, addr), []peers.Account{alice}, "--backend-tls", backendTLS[mode], "--backend-ca", backend.CAFile)
			if dripping {
				g.pop3s, g.pop3 = peers.Trickle(t, g.pop3s), peers.Trickle(t, g.pop3)
			}
			if got := dialogue(t, g.target(mode, alice), commands); got != want {
				t.Errorf("%s, dripping %v: got %d octets %.300q, want %d octets %.300q", mode, dripping, len(got), got, len(want), want)
			}
			for range 3 {
				checkAPOP(t, g, alice)
			}
		}
	}
}

// checkAPOP logs in by what the greeting has, which must be that of this session's own connection.
func checkAPOP(t *testing.T, g *gate, a peers.Account) {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.TLS, a))
	reply, secrets, err := c.Auth("APOP", a.User, a.Password)
	g.secrets.add(secrets...)
	if err != nil || !peers.OK(reply) {
		t.Errorf("APOP: %q, %v", reply, err)
	}
	c.Must(t, "QUIT")
}

// inside plays script inside TLS, after it has taken a login.
func inside(script func(*attacker)) func(*attacker) {
	return func(a *attacker) {
		conn := tls.Server(a.conn, a.config)
		b := &attacker{conn, bufio.NewReader(conn), a.config}
		b.say("+OK ready\r\n")
		for range 2 {
			b.lines.ReadString('\n')
			b.say("+OK\r\n")
		}
		script(b)
	}
}

// A backend's good-bye, a reply that nobody asked for, and an end in the middle of a message, whether TLS announces
// it or somebody cut the wire, are what they are in clear text.
func TestBackendEndsInsideTLS(t *testing.T) {
	t.Parallel()
	pair := peers.SelfSigned(t, peers.Leaf{})
	alice := peers.Account{User: "alice", Password: "e2e backend ends 5Vd7"}
	const half = "+OK\r\nSubject: half a message\r\n\r\nbegun"
	for _, test := range []struct {
		name           string
		script         func(*attacker)
		command, said  string // "" sends none
		reason, record string // of the end, and another record that there must be
	}{
		{"a good-bye", func(a *attacker) { a.say("-ERR idle for too long\r\n") }, "", "-ERR idle for too long\r\n", "autologout", "anomaly unsolicited_reply"},
		{"a reply to nothing", func(a *attacker) {
			a.say("+OK 3 messages\r\n")
			a.playAlong()
		}, "", "", "framing_uncertain", "anomaly framing_uncertain"},
		{"half a message, then the end", func(a *attacker) {
			a.hear("RETR 1")
			a.say(half)
			a.conn.Close()
		}, "RETR 1", half, "closed", "anomaly unterminated"},
		{"half a message, then the wire is cut", func(a *attacker) {
			a.hear("RETR 1")
			a.say(half)
			a.conn.(*tls.Conn).NetConn().Close()
		}, "RETR 1", half, "closed", "anomaly unterminated"},
		{"two replies to one command", func(a *attacker) {
			a.hear("NOOP")
			a.say("+OK\r\n+OK 3 messages\r\n")
			a.playAlong()
		}, "NOOP", "+OK\r\n", "framing_uncertain", "anomaly framing_uncertain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tap := attackWith(t, pair, inside(test.script))
			g := serve(t, byName(t, tap.Addr), []peers.Account{alice}, "--backend-tls", "tls", "--backend-ca", pair.Cert)
			c := peers.MustDial(t, g.target(peers.TLS, alice))
			c.Login(t, alice.User, alice.Password)
			if test.command != "" {
				c.Send(test.command + "\r\n")
			}
			if said, _ := c.Rest(); said != test.said {
				t.Errorf("the client is told %q, want %q", said, test.said)
			}
			var told []string
			for _, r := range g.transcript(t, g.sessionOf(t, c)) {
				told = append(told, strings.TrimSpace(string(r.Kind)+" "+r.Detail))
			}
			contains(t, "the record", strings.Join(told, "\n"), test.record, string(proxy.KindEnd)+" "+test.reason)
		})
	}
}
