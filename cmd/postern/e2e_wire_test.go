package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"postern/cmd/internal/peers"
	"postern/proxy"
)

// Every reply of a session passes octet for octet, errors included, before the login and after it.
func TestReplies(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e replies 1Vp5", Mail: peers.Corpus()}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	early := [][]string{{"NOOP", "STAT", "QUIT"}, {"RETR 1", "FOO", "QUIT"}, {"PASS", "USER", "AUTH UNHEARD", "QUIT"}}
	commands := []string{"USER " + alice.User, "PASS " + alice.Password + "x", "AUTH",
		"USER " + alice.User, "pass " + alice.Password, "STAT", "LIST", "LIST 1", "LIST 99", "LIST x", "uidl", "UIDL 1", "UIDL 99", "LAST", "NOOP", "FOO bar",
		"TOP 1 0", "TOP 4 2", "TOP 30 5", "TOP 99 1", "TOP 1", "RETR 0", "RETR 99", "RETR x", "RETR",
		"DELE 99", "DELE 3", "DELE 3", "RETR 3", "TOP 3 1", "LIST 3", "STAT", "RSET", "STAT", "LIST"}
	for n := range alice.Mail {
		commands = append(commands, fmt.Sprintf("RETR %d", n+1))
	}
	commands = append(commands, "QUIT")
	for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
		for _, dialogue := range append(early, commands) {
			direct, relayed := peers.MustDial(t, backend.Target(mode, alice)), peers.MustDial(t, g.target(mode, alice))
			if !strings.HasPrefix(relayed.Greeting, "+OK Dovecot") {
				t.Errorf("greeting %q", relayed.Greeting)
			}
			checkSame(t, direct, relayed, dialogue...)
			if rest, err := relayed.Rest(); rest != "" || err != nil {
				t.Errorf("after QUIT: %q, %v", rest, err)
			}
		}
	}
}

// checkSame sends each command to both and compares the replies.
func checkSame(t *testing.T, direct, relayed *peers.Raw, commands ...string) {
	t.Helper()
	for _, command := range commands {
		want, got := direct.Must(t, command), relayed.Must(t, command)
		if want != got {
			t.Errorf("%s\n got %d octets %.200q\nwant %d octets %.200q", command, len(got), got, len(want), want)
		}
	}
}

// CAPA tells the truth on every listener, and keeps the lines that are not the gate's business.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e capa 6Bq3", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	all := lines(peers.MustDial(t, backend.Target(peers.Plain, alice)).Must(t, "CAPA"))
	for _, test := range []struct {
		mode    peers.Mode
		without []string
		with    []string
	}{
		{peers.Plain, []string{"STLS", "USER", "SASL"}, []string{"STLS\r\n"}},
		{peers.TLS, []string{"STLS"}, nil},
		{peers.STLS, []string{"STLS"}, nil},
	} {
		want := all[:0:0]
		for _, line := range all {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !strings.Contains(" "+strings.Join(test.without, " ")+" ", " "+word+" ") {
				want = append(want, line)
			}
		}
		end := len(want) - 1 // the terminator
		want = append(append(want[:end:end], test.with...), want[end])
		got := lines(peers.MustDial(t, g.target(test.mode, alice)).Must(t, "CAPA"))
		if strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("%s: got %q, want %q", test.mode, got, want)
		}
	}
}

func lines(text string) []string { return strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n") }

// Every mechanism logs in through the gate with the right password and not with another, and is recorded with
// the name that was claimed.
func TestLogins(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e logins 8Gm1", Mail: peers.Small(1)}
	wrong := "e2e wrong login 2Ls7"
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	g.secrets.add(wrong)
	for _, mechanism := range peers.Mechanisms {
		for password, login := range map[string]string{alice.Password: proxy.LoginOK, wrong: proxy.LoginFailed} {
			c := peers.MustDial(t, g.target(peers.STLS, alice))
			reply, secrets, err := c.Auth(mechanism, alice.User, password)
			g.secrets.add(secrets...)
			if err != nil || peers.OK(reply) != (login == proxy.LoginOK) {
				t.Errorf("%s: %q, %v; want login %s", mechanism, reply, err, login)
			}
			c.Must(t, "QUIT")
			s := g.sessionOf(t, c)
			if s.User != alice.User || s.Mechanism != mechanism || s.Login != login {
				t.Errorf("recorded as %q by %q: %s; want %q by %q: %s",
					s.User, s.Mechanism, s.Login, alice.User, mechanism, login)
			}
		}
	}
}

// A client may send its credentials with AUTH, may cancel, and may then log in after all.
func TestInitialResponseAndCancel(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e cancel 5Yd4", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	direct, relayed := peers.MustDial(t, backend.Target(peers.TLS, alice)), peers.MustDial(t, g.target(peers.TLS, alice))
	token := base64.StdEncoding.EncodeToString([]byte("\x00" + alice.User + "\x00" + alice.Password))
	g.secrets.add(token)
	for _, line := range []string{"AUTH PLAIN", "*", "AUTH LOGIN", "YWxpY2U=", "*", "AUTH PLAIN " + token} {
		want, err1 := direct.Step(line)
		got, err2 := relayed.Step(line)
		if err1 != nil || err2 != nil || want != got {
			t.Errorf("%.10s: got %q, %v, want %q, %v", line, got, err2, want, err1)
		}
	}
	relayed.Must(t, "QUIT")
	if s := g.sessionOf(t, relayed); s.User != alice.User || s.Mechanism != "PLAIN" || s.Login != proxy.LoginOK {
		t.Errorf("recorded as %q by %q: %s", s.User, s.Mechanism, s.Login)
	}
}

// Commands sent in one write are answered in order, and the end of a client's sending takes no reply from it.
func TestPipelineAndHalfClose(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e pipeline 7Nc6", Mail: peers.Corpus()}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	commands := []string{"CAPA", "USER " + alice.User, "PASS " + alice.Password, "STAT", "LIST", "UIDL", "RETR 1",
		"RETR 4", "TOP 2 0", "NOOP", "RETR 30", "DELE 2", "DELE 99", "RSET", "RETR 28", "QUIT"}
	for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
		direct := peers.MustDial(t, backend.Target(mode, alice))
		var want strings.Builder
		for _, command := range commands {
			want.WriteString(direct.Must(t, command))
		}
		c := peers.MustDial(t, g.target(mode, alice))
		if err := c.Send(strings.Join(commands, "\r\n") + "\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Rest()
		if err != nil || got != withoutSTLS(want.String()) {
			t.Errorf("%s: %v, got %d octets %.300q, want %d octets %.300q", mode, err, len(got), got, want.Len(), want.String())
		}
		if s := g.sessionOf(t, c); s.Retrieved != 4 || s.RolledBack != 1 || s.Deleted != 0 || s.EndSide != proxy.SideClient {
			t.Errorf("recorded: %d retrieved, %d rolled back, %d deleted, ended by %s: %s",
				s.Retrieved, s.RolledBack, s.Deleted, s.EndSide, s.EndReason)
		}
	}
}

// withoutSTLS is what Dovecot's replies become inside our TLS, should it offer STLS.
func withoutSTLS(text string) string { return strings.Replace(text, "\r\nSTLS\r\n", "\r\n", 1) }

// A half-close in clear text, where there is no TLS that announces it.
func TestHalfCloseInClear(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e halfclose 9Ae2", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	for range 20 {
		c := peers.MustDial(t, g.target(peers.Plain, alice))
		if err := c.Send("NOOP\r\nQUIT\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Rest()
		if replies := lines(got); err != nil || len(replies) != 2 || !peers.OK(replies[1]) {
			t.Fatalf("got %q, %v; want a reply to NOOP and +OK to QUIT", got, err)
		}
	}
}

// No credential is taken before TLS, whatever it comes in, and none is recorded.
func TestTLSRequired(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e cleartext 4Tk9", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	token := base64.StdEncoding.EncodeToString([]byte("\x00" + alice.User + "\x00" + alice.Password))
	g.secrets.add(token)
	c := peers.MustDial(t, g.target(peers.Plain, alice))
	for _, command := range []string{"USER " + alice.User, "PASS " + alice.Password, "AUTH PLAIN " + token, "AUTH PLAIN",
		"AUTH CRAM-MD5", "APOP alice 0123456789abcdef0123456789abcdef", "STAT", "RETR 1"} {
		if reply := c.Must(t, command); !strings.HasPrefix(reply, "-ERR ") {
			t.Errorf("%.9s before TLS: %q", command, reply)
		}
	}
	if reply := c.Must(t, "STLS"); !peers.OK(reply) {
		t.Fatalf("STLS: %q", reply)
	}
	raw := peers.MustDial(t, g.target(peers.STLS, alice))
	raw.Login(t, alice.User, alice.Password)
	if reply := raw.Must(t, "STLS"); peers.OK(reply) {
		t.Errorf("STLS inside TLS: %q", reply)
	}
}

// A backend that is down is told at once, as the client's software understands it, and recorded.
func TestBackendDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	g := serve(t, l.Addr().String(), nil)
	for _, mode := range []peers.Mode{peers.TLS, peers.Plain} {
		began := time.Now()
		c := peers.MustDial(t, g.target(mode, peers.Account{}))
		if took := time.Since(began); !strings.HasPrefix(c.Greeting, "-ERR [SYS/TEMP] ") || took > time.Second {
			t.Errorf("%s: greeting %q after %v", mode, c.Greeting, took)
		}
		if rest, err := c.Rest(); rest != "" || err != nil {
			t.Errorf("%s: after the greeting %q, %v", mode, rest, err)
		}
		if s := g.sessionOf(t, c); s.EndSide != proxy.SideBackend {
			t.Errorf("%s: recorded as ended by %q: %s", mode, s.EndSide, s.EndReason)
		}
	}
}

// bodyOctets counts what follows the status line of a reply, terminator left out.
func bodyOctets(reply string) int64 {
	_, body, _ := strings.Cut(reply, "\n")
	return int64(len(body) - len(".\r\n"))
}

func withoutCR(mail [][]byte) (all [][]byte) {
	for _, m := range mail {
		all = append(all, bytes.ReplaceAll(m, []byte("\r"), nil))
	}
	return all
}
