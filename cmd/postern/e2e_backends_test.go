package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// oddServer is a server unlike Dovecot: what it is known for must come through, and no more.
type oddServer struct {
	name    string
	start   func(testing.TB, ...peers.Account) *peers.Server
	mail    [][]byte
	capa    bool // it has CAPA; else the gate answers, for it offers STLS
	auth    bool // it lists mechanisms on a bare AUTH
	quitArg bool // it takes QUIT with an argument for QUIT; else -ERR, and the session goes on
}

// gateCapa is what the gate says inside TLS for a server without CAPA.
const gateCapa = "+OK capability list follows\r\nUSER\r\n.\r\n"

func oddServers() []oddServer {
	return []oddServer{
		{"popa3d", peers.Popa3d, peers.Corpus(), false, false, false},
		{"courier", peers.Courier, peers.Corpus(), true, false, true},
		{"cyrus", peers.Cyrus, withoutNUL(peers.Corpus()), true, true, false},
	}
}

// Servers from other decades give their mail and their replies through the gate as they do themselves, octet for
// octet, and the log tells the same story.
func TestOddServers(t *testing.T) {
	t.Parallel()
	for _, server := range oddServers() {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			alice := peers.Account{User: "alice", Password: "e2e odd server 5Mz1", Mail: server.mail}
			bob := peers.Account{User: "bob", Password: "e2e odd server 8Cv4", Mail: peers.Small(3)}
			backend := server.start(t, alice, bob)
			g := serve(t, backend.Addr, []peers.Account{alice, bob})
			server.checkReplies(t, g, backend, alice)
			server.checkCapabilities(t, g, backend, alice)
			server.checkClients(t, g, backend, alice)
			server.checkDeletes(t, g, backend, bob)
		})
	}
}

// commands is a session that asks for everything there is, errors and the server's own habits among it.
func (o oddServer) commands(a peers.Account) []string {
	commands := []string{"NOOP", "STAT", "AUTH", "APOP " + a.User, "USER " + a.User, "PASS " + a.Password,
		"STAT", "LIST", "LIST 2", "LIST 99", "LIST x", "UIDL", "UIDL 1", "LAST", "NOOP", "FOO", "CAPA", "AUTH",
		"TOP 1 0", "TOP 4 2", "TOP 5 1000", "TOP 99 1", "DELE 3", "DELE 3", "LIST 3", "STAT", "RSET", "STAT",
		"LIST " + strings.Repeat("1", 400)} // popa3d reads 128 octets of it
	for n := range a.Mail {
		commands = append(commands, fmt.Sprintf("RETR %d", n+1))
	}
	if !o.quitArg {
		commands = append([]string{"QUIT x"}, append(commands, "QUIT now", "NOOP")...)
	}
	return append(commands, "QUIT")
}

// checkReplies plays the same session with the server itself and through the gate, one after the other because
// such servers lock a maildrop.
func (o oddServer) checkReplies(t *testing.T, g *gate, backend *peers.Server, a peers.Account) {
	t.Helper()
	commands := o.commands(a)
	want, _ := play(t, backend.Target(peers.Plain, a), commands)
	var bodies []int64
	for i, command := range commands {
		if strings.HasPrefix(command, "RETR") {
			bodies = append(bodies, bodyOctets(want[i]))
		}
	}
	for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
		got, c := play(t, g.target(mode, a), commands)
		for i, command := range commands {
			if command == "CAPA" && !o.capa {
				want[i] = gateCapa
			}
			if got[i] != want[i] {
				t.Errorf("%s, %s\n got %d octets %.200q\nwant %d octets %.200q",
					mode, command, len(got[i]), got[i], len(want[i]), want[i])
			}
		}
		s := g.sessionOf(t, c)
		if s.User != a.User || s.Mechanism != "USER" || s.Login != proxy.LoginOK || s.TLS == nil ||
			s.Retrieved != int64(len(bodies)) || s.RolledBack != 1 || s.Deleted+s.Unknown != 0 ||
			s.EndSide != proxy.SideClient || s.Partial {
			t.Errorf("%s: recorded as %+v", mode, s)
		}
		records := g.transcript(t, s)
		checkMessages(t, records, bodies)
		checkCommands(t, records, commands, got)
	}
}

// play returns the reply to each command, for the last of which the server must end the session.
func play(t *testing.T, target peers.Target, commands []string) (replies []string, c *peers.Raw) {
	t.Helper()
	c = peers.MustDial(t, target)
	for _, command := range commands {
		reply, _, _ := strings.Cut(c.Must(t, command), " SESSIONID=") // which Cyrus never tells twice
		replies = append(replies, reply)
	}
	if rest, err := c.Rest(); rest != "" || err != nil {
		t.Errorf("after %s: %q, %v", commands[len(commands)-1], rest, err)
	}
	return replies, c
}

// checkCommands compares the commands on record, STLS aside, with those that were sent and with their replies.
func checkCommands(t *testing.T, records []audit.Record, commands, replies []string) {
	t.Helper()
	records = slices.DeleteFunc(slices.Clone(records), func(r audit.Record) bool {
		return r.Kind != proxy.KindCommand || r.Verb == "STLS"
	})
	if len(records) != len(commands) {
		t.Fatalf("%d commands on record, want %d", len(records), len(commands))
	}
	for i, r := range records {
		verb, _, _ := strings.Cut(commands[i], " ")
		if (r.Verb != verb && r.Verb != "") || r.Status != statusOf(replies[i]) {
			t.Errorf("%.12s, answered %.40q, is on record as %s, %s", commands[i], replies[i], r.Verb, r.Status)
		}
	}
}

// checkCapabilities compares what is offered before the login with what the server offers.
func (o oddServer) checkCapabilities(t *testing.T, g *gate, backend *peers.Server, a peers.Account) {
	t.Helper()
	own := peers.MustDial(t, backend.Target(peers.Plain, a)).Must(t, "CAPA")
	if peers.OK(own) != o.capa {
		t.Fatalf("CAPA of the server itself: %q", own)
	}
	inTLS := own
	if !o.capa {
		inTLS = gateCapa
	}
	inClear := inTLS
	for _, line := range lines(inTLS) {
		if word := strings.Fields(line)[0]; word == "USER" || word == "SASL" || word == "UTF8" {
			inClear = strings.Replace(inClear, line, "", 1) // no login before TLS, nor what belongs to one
		}
	}
	inClear = strings.TrimSuffix(inClear, ".\r\n") + "STLS\r\n.\r\n"
	for mode, want := range map[peers.Mode]string{peers.Plain: inClear, peers.TLS: inTLS, peers.STLS: inTLS} {
		c := peers.MustDial(t, g.target(mode, a))
		if got := c.Must(t, "CAPA"); got != want {
			t.Errorf("CAPA, %s\n got %q\nwant %q", mode, got, want)
		}
		if mechanisms := c.Must(t, "AUTH"); peers.OK(mechanisms) != (o.auth && mode != peers.Plain) {
			t.Errorf("AUTH, %s: %q", mode, mechanisms)
		}
		c.Conn.Close()
		for _, r := range g.transcript(t, g.sessionOf(t, c)) {
			if r.Verb == "CAPA" && r.Local == o.capa {
				t.Errorf("CAPA, %s: on record as answered by the gate: %v", mode, r.Local)
			}
		}
	}
}

// checkClients compares what programs get through the gate with what they get from the server.
func (o oddServer) checkClients(t *testing.T, g *gate, backend *peers.Server, a peers.Account) {
	t.Helper()
	for _, name := range []string{"curl", "poplib"} {
		client := peers.Named(name)
		want := client.Fetch(t, backend.Target(peers.Plain, a), len(a.Mail))
		for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
			peers.Same(t, want, client.Fetch(t, g.target(mode, a), len(a.Mail)))
			if s := g.newest(t); s.User != a.User || s.Retrieved != int64(len(a.Mail)) {
				t.Errorf("%s by %s: session of %q with %d retrieved", name, mode, s.User, s.Retrieved)
			}
		}
	}
}

// checkDeletes looks at what becomes of a delete when QUIT has an argument: the server's reply decides.
func (o oddServer) checkDeletes(t *testing.T, g *gate, backend *peers.Server, a peers.Account) {
	t.Helper()
	fate, left := proxy.DeleteRolledBack, 3
	if o.quitArg {
		fate, left = proxy.DeleteCommitted, 2
	}
	o.checkFate(t, g, a, []string{"DELE 2", "QUIT x"}, fate)
	o.checkLeft(t, backend, a, left)
	o.checkFate(t, g, a, []string{"DELE 1", "QUIT"}, proxy.DeleteCommitted)
	o.checkLeft(t, backend, a, left-1)
}

// checkFate plays a session that the client ends, and looks for the fate of its one delete.
func (o oddServer) checkFate(t *testing.T, g *gate, a peers.Account, commands []string, want string) {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.STLS, a))
	c.Login(t, a.User, a.Password)
	for _, command := range commands {
		c.Must(t, command)
	}
	c.Conn.Close()
	var fates []string
	for _, r := range g.transcript(t, g.sessionOf(t, c)) {
		if r.Kind == proxy.KindDelete {
			fates = append(fates, r.Detail)
		}
	}
	if !slices.Equal(fates, []string{want}) {
		t.Errorf("%q: fates %q, want %q", commands, fates, want)
	}
}

// checkLeft asks the server itself, once it has let go of the maildrop.
func (o oddServer) checkLeft(t *testing.T, backend *peers.Server, a peers.Account, want int) {
	t.Helper()
	var stat string
	eventually(t, "the maildrop to be free", func() bool {
		c := peers.MustDial(t, backend.Target(peers.Plain, a))
		defer c.Conn.Close()
		c.Must(t, "USER "+a.User)
		if !peers.OK(c.Must(t, "PASS "+a.Password)) {
			return false
		}
		stat = c.Must(t, "STAT")
		c.Must(t, "QUIT")
		return true
	})
	if !strings.HasPrefix(stat, fmt.Sprintf("+OK %d ", want)) {
		t.Errorf("the maildrop has %q, want %d messages", stat, want)
	}
}

// withoutNUL leaves out what Cyrus refuses to take.
func withoutNUL(mail [][]byte) [][]byte {
	return slices.DeleteFunc(mail, func(m []byte) bool { return bytes.IndexByte(m, 0) >= 0 })
}
