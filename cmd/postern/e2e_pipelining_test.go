package main

import (
	"fmt"
	"strings"
	"testing"

	"postern/cmd/internal/peers"
	"postern/proxy"
)

// A client that sends all it wants at once gets what the server itself says to one command after the other, and the log
// has each. Commands reach the server together only where it has announced so, or a setting says so.
func TestPipelining(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e runs 3Kd8", Mail: peers.Corpus()}
	bob := peers.Account{User: "bob", Password: "e2e runs 5Yf0", Mail: withoutNUL(peers.Corpus())}
	carol := peers.Account{User: "carol@example.test", Password: "e2e runs 9Wb2", Mail: peers.Small(20)}
	for _, test := range []struct {
		name    string
		start   func(testing.TB, ...peers.Account) *peers.Server
		account peers.Account
		flags   []string
		runs    bool
	}{
		{"dovecot", peers.Dovecot, alice, nil, true},
		{"dovecot, always", peers.Dovecot, alice, []string{"--pipelining", "on"}, true},
		{"dovecot, never", peers.Dovecot, alice, []string{"--pipelining", "off"}, false},
		{"mailutils", peers.Mailutils, carol, nil, true},
		{"mailutils, never", peers.Mailutils, carol, []string{"--pipelining", "off"}, false},
		{"popa3d", peers.Popa3d, alice, nil, false},
		{"courier", peers.Courier, alice, nil, true},
		{"cyrus", peers.Cyrus, bob, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			backend := test.start(t, test.account)
			tap := peers.NewTap(t, backend.Addr)
			g := serve(t, tap.Addr, []peers.Account{test.account}, test.flags...)
			checkPipelined(t, g, backend, test.account)
			if most := mostCommands(tap.Pieces()); most > 1 != test.runs {
				t.Errorf("the server got up to %d commands at once", most)
			}
		})
	}
}

// The same through TLS on both legs, where a look at the socket tells nothing of what has come.
func TestPipeliningInTLS(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e sealed runs 1Hs6", Mail: peers.Corpus()}
	backend := peers.Dovecot(t, alice)
	for how, addr := range map[string]string{"stls": backend.Addr, "tls": backend.AddrTLS} {
		g := serve(t, addr, []peers.Account{alice}, "--backend-tls", how, "--backend-ca", backend.CAFile, "--backend-name", "localhost",
			"--pipelining", "on")
		checkPipelined(t, g, backend, alice)
	}
}

// checkPipelined plays a session with the server itself, command by command, and the same through the gate at once.
func checkPipelined(t *testing.T, g *gate, backend *peers.Server, a peers.Account) {
	t.Helper()
	commands := pipelined(len(a.Mail))
	all := append([]string{"USER " + a.User, "PASS " + a.Password}, commands...)
	play(t, backend.Target(peers.Plain, a), all) // mailutils then writes into the messages that they were read
	want, _ := play(t, backend.Target(peers.Plain, a), all)
	want = want[2:]
	c := peers.MustDial(t, g.target(peers.TLS, a))
	c.Must(t, "CAPA")
	c.Login(t, a.User, a.Password)
	if err := c.Send(strings.Join(commands, "\r\n") + "\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := c.Rest()
	if err != nil || got != strings.Join(want, "") {
		t.Errorf("%v, got %d octets %.300q, want %.300q", err, len(got), got, want)
	}
	checkRunRecords(t, g, c, commands, want)
}

// pipelined asks for everything that may be pipelined, with errors, and for what may not.
func pipelined(messages int) []string {
	commands := []string{"STAT", "LIST", "UIDL", "NOOP", "LIST 1", "LIST 99", "UIDL 2", "TOP 1 0", "TOP 99 1", "LAST", "RSET",
		"FROB", "DELE 2", "DELE 2", "LIST 2", "STAT", "RSET", "AUTH", "NOOP"}
	for n := range messages {
		commands = append(commands, fmt.Sprintf("RETR %d", n+1))
	}
	return append(commands, "DELE 1", "RSET", "QUIT")
}

// checkRunRecords compares the records with the commands and replies, those of a run too.
func checkRunRecords(t *testing.T, g *gate, c *peers.Raw, commands, replies []string) {
	t.Helper()
	s := g.sessionOf(t, c)
	records := g.transcript(t, s)
	checkCommands(t, records, append([]string{"CAPA", "USER", "PASS"}, commands...), append([]string{"+OK", "+OK", "+OK"}, replies...))
	var bodies []int64
	for i, command := range commands {
		if strings.HasPrefix(command, "RETR") && peers.OK(replies[i]) {
			bodies = append(bodies, bodyOctets(replies[i]))
		}
	}
	checkMessages(t, records, bodies)
	if s.RolledBack != 2 || s.Deleted+s.Unknown != 0 || s.EndSide != proxy.SideClient || s.Partial {
		t.Errorf("recorded as %+v", s)
	}
}

// mostCommands is how many whole lines the fullest piece has.
func mostCommands(pieces []string) (most int) {
	for _, piece := range pieces {
		most = max(most, strings.Count(piece, "\n"))
	}
	return most
}
