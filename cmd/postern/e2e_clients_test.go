package main

import (
	"fmt"
	"strings"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// Every client gets through the gate, by POP3S and by STLS, octet for octet what it gets from Dovecot itself, and
// the log tells of each message.
func TestClients(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e clients 3Hn8", Mail: peers.Corpus()}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	bodies := retrieveAll(t, backend.Target(peers.Plain, alice), len(alice.Mail))
	for _, client := range peers.Clients {
		for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
			if !client.Supports(mode) {
				continue
			}
			t.Run(client.Name+"/"+string(mode), func(t *testing.T) {
				want := client.Fetch(t, backend.Target(mode, alice), len(alice.Mail))
				peers.Same(t, want, client.Fetch(t, g.target(mode, alice), len(alice.Mail)))
				checkFetch(t, g, client, mode, bodies)
			})
		}
	}
}

// retrieveAll returns the octets that follow each message's status line, terminator left out.
func retrieveAll(t *testing.T, target peers.Target, count int) (bodies []int64) {
	t.Helper()
	c := peers.MustDial(t, target)
	c.Login(t, target.User, target.Password)
	for n := range count {
		bodies = append(bodies, bodyOctets(c.Must(t, fmt.Sprintf("RETR %d", n+1))))
	}
	c.Must(t, "QUIT")
	return bodies
}

// checkFetch looks for the newest session's story: the client took every message once and deleted none.
func checkFetch(t *testing.T, g *gate, client peers.Client, mode peers.Mode, bodies []int64) {
	t.Helper()
	s := g.newest(t)
	listener := map[peers.Mode]string{peers.TLS: "pop3s", peers.STLS: "pop3"}[mode]
	if s.User != "alice" || s.Mechanism != client.Mechanism || s.Login != proxy.LoginOK || s.Listener != listener {
		t.Errorf("session of %q by %q: %s on %q, want alice by %q: ok on %q",
			s.User, s.Mechanism, s.Login, s.Listener, client.Mechanism, listener)
	}
	if s.Retrieved != int64(len(bodies)) || s.Opened < s.Retrieved || s.Deleted+s.RolledBack+s.Unknown != 0 {
		t.Errorf("%d retrieved, %d opened, deletes %d, %d, %d; want %d retrieved and no deletes",
			s.Retrieved, s.Opened, s.Deleted, s.RolledBack, s.Unknown, len(bodies))
	}
	if s.TLS == nil || s.TLS.Version == "" || s.TLS.Cipher == "" || s.EndSide != proxy.SideClient || s.Partial {
		t.Errorf("TLS %+v, ended by %q: %s", s.TLS, s.EndSide, s.EndReason)
	}
	checkMessages(t, g.transcript(t, s), bodies)
}

// checkMessages compares the RETRs of a transcript with what the backend gives, and their unique-ids with those
// a UIDL told before.
func checkMessages(t *testing.T, records []audit.Record, bodies []int64) {
	t.Helper()
	listed := false
	seen := map[int64]bool{}
	for _, r := range records {
		if r.Kind != proxy.KindCommand {
			continue
		}
		switch {
		case r.Verb == "UIDL" && r.Arg == "" && r.Status == "+OK":
			listed = true
		case r.Verb != "RETR":
		case r.Message < 1 || r.Message > int64(len(bodies)) || seen[r.Message]:
			t.Errorf("RETR of message %d, seen before: %v", r.Message, seen[r.Message])
		case r.Status != "+OK" || r.Partial || r.Octets != bodies[r.Message-1] || listed != (r.UID != ""):
			t.Errorf("RETR %d is recorded as %s, partial %v, %d octets, uid %q; want +OK, %d octets, uid known: %v",
				r.Message, r.Status, r.Partial, r.Octets, r.UID, bodies[r.Message-1], listed)
			fallthrough
		default:
			seen[r.Message] = true
		}
	}
	if len(seen) != len(bodies) {
		t.Errorf("%d messages in the transcript, want %d", len(seen), len(bodies))
	}
}

// A second server, which is nothing like Dovecot, behind the same gate.
func TestMailutils(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice@example.test", Password: "e2e mailutils 9Xf2", Mail: peers.Small(5)}
	backend := peers.Mailutils(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	commands := []string{"USER " + alice.User, "PASS " + alice.Password, "CAPA", "STAT", "LIST", "UIDL", "TOP 2 1",
		"RETR 1", "RETR 2", "RETR 3", "RETR 4", "RETR 5", "QUIT"}
	settle(t, func() string { return dialogue(t, backend.Target(peers.Plain, alice), commands) })
	for _, client := range peers.Clients {
		if !client.Legacy {
			continue
		}
		want := client.Fetch(t, backend.Target(peers.Plain, alice), len(alice.Mail))
		got := client.Fetch(t, g.target(peers.TLS, alice), len(alice.Mail))
		peers.Same(t, withoutCR(want), withoutCR(got)) // Net::POP3 keeps CRs inside TLS only
		if s := g.newest(t); s.User != alice.User || s.Retrieved != int64(len(alice.Mail)) {
			t.Errorf("%s: session of %q with %d retrieved", client.Name, s.User, s.Retrieved)
		}
	}
	want := dialogue(t, backend.Target(peers.Plain, alice), commands) // one after the other: it locks the maildrop
	if got := dialogue(t, g.target(peers.STLS, alice), commands); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// Clients that know only AUTH reach a server that knows only USER, and the log says how they came.
func TestTranslation(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice@example.test", Password: "e2e translation 3Db7", Mail: peers.Small(3)}
	backend := peers.Mailutils(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice}, "--auth-translate", "user")
	peers.Named("mpop").Fetch(t, g.target(peers.STLS, alice), len(alice.Mail))
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		c := peers.MustDial(t, g.target(peers.TLS, alice))
		reply, secrets, err := c.Auth(mechanism, alice.User, alice.Password)
		g.secrets.add(secrets...)
		if err != nil || !peers.OK(reply) || !peers.OK(c.Must(t, "RETR 3")) {
			t.Errorf("%s: %q, %v", mechanism, reply, err)
		}
		c.Must(t, "QUIT")
		if s := g.sessionOf(t, c); s.User != alice.User || s.Mechanism != mechanism || s.Retrieved != 1 {
			t.Errorf("recorded as %q by %q, %d retrieved", s.User, s.Mechanism, s.Retrieved)
		}
	}
}

// settle reads until the same comes twice: Mailutils stamps messages in the first sessions.
func settle(t *testing.T, read func() string) {
	t.Helper()
	last := read()
	for range 5 {
		again := read()
		if again == last {
			return
		}
		last = again
	}
	t.Fatalf("every session differs: %q", last)
}

// dialogue returns all that a server says.
func dialogue(t *testing.T, target peers.Target, commands []string) string {
	t.Helper()
	c := peers.MustDial(t, target)
	var said strings.Builder
	for _, command := range commands {
		said.WriteString(c.Must(t, command))
	}
	rest, err := c.Rest()
	if err != nil {
		t.Errorf("after QUIT: %v", err)
	}
	return said.String() + rest
}
