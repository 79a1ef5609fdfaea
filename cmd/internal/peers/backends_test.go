package peers

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Each server greets, logs in whom it should, and has the mail it was given.
func TestBackends(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		start    func(testing.TB, ...Account) *Server
		greeting string
		capa     bool
		quitArg  string // the reply to QUIT with an argument
		rewrites bool   // it writes headers of its own
	}{
		{"popa3d", Popa3d, "+OK\r\n", false, "-ERR\r\n", false},
		{"courier", Courier, "+OK Hello there.\r\n", true, "+OK Bye-bye.\r\n", false},
		{"cyrus", Cyrus, "+OK peer.example.test Cyrus POP3 3.6", true, "-ERR Unexpected extra argument\r\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			alice := Account{"alice", "peers backend 4Jt6", Small(3)}
			bob := Account{"bob", "peers backend 7Ux1", Small(1)}
			s := test.start(t, alice, bob)
			c := MustDial(t, s.Target(Plain, alice))
			if !strings.HasPrefix(c.Greeting, test.greeting) {
				t.Errorf("greeting %q, want %q", c.Greeting, test.greeting)
			}
			if reply := c.Must(t, "CAPA"); OK(reply) != test.capa {
				t.Errorf("CAPA: %q", reply)
			}
			c.Login(t, alice.User, alice.Password)
			for i, want := range alice.Mail {
				got := trimmed(Content(c.Must(t, fmt.Sprintf("RETR %d", i+1))))
				if test.rewrites {
					_, got, _ = bytes.Cut(got, []byte("\n\n"))
					_, want, _ = bytes.Cut(want, []byte("\n\n"))
				}
				if !bytes.Equal(got, trimmed(want)) {
					t.Errorf("message %d: got %q, want %q", i+1, got, want)
				}
			}
			if reply := c.Must(t, "QUIT x"); reply != test.quitArg {
				t.Errorf("QUIT x: %q, want %q", reply, test.quitArg)
			}
			refused := MustDial(t, s.Target(Plain, bob))
			refused.Must(t, "USER bob")
			if reply := refused.Must(t, "PASS "+alice.Password); OK(reply) {
				t.Errorf("a wrong password: %q", reply)
			}
		})
	}
}

// trimmed leaves out CRs before LF and the newlines at the end, of which an mbox adds one.
func trimmed(b []byte) []byte { return bytes.TrimRight(unix(b), "\n") }
