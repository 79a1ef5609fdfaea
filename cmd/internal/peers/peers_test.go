package peers

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// The corpus has what its comment promises, and is the same twice.
func TestCorpus(t *testing.T) {
	mail, again := Corpus(), Corpus()
	if len(mail) != 30 {
		t.Errorf("%d messages, want 30", len(mail))
	}
	for i := range mail {
		if !bytes.Equal(mail[i], again[i]) {
			t.Errorf("message %d differs from one call to the next", i+1)
		}
	}
	all := bytes.Join(mail, nil)
	for _, want := range []string{"\n.\n", "\n..\n", ".\r", "\x00", "\xff", strings.Repeat("x", longLine), "bare\rCR"} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("no message contains %.20q", want)
		}
	}
	if n := len(mail[29]); n < attachment {
		t.Errorf("the attachment has %d octets", n)
	}
}

// Every client gets the whole corpus from Dovecot itself, and the same by every mode it has.
func TestClientsOnDovecot(t *testing.T) {
	t.Parallel()
	alice := Account{"alice", "peers corpus 5Rk1", Corpus()}
	s := Dovecot(t, alice)
	for _, c := range Clients {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			var first [][]byte
			for _, mode := range c.Modes {
				mail := c.Fetch(t, s.Target(mode, alice), len(alice.Mail))
				for i := range mail {
					mail[i] = bytes.ReplaceAll(mail[i], []byte("\r"), nil) // Net::POP3 keeps them inside TLS only
				}
				if first == nil {
					first = mail
				}
				Same(t, first, mail)
			}
		})
	}
}

// What the raw client keeps is what is in the Maildir, but for line ends.
func TestRawOnDovecot(t *testing.T) {
	t.Parallel()
	alice := Account{"alice", "peers raw 8Wm2", Corpus()}
	s := Dovecot(t, alice)
	c := MustDial(t, s.Target(STLS, alice))
	c.Login(t, alice.User, alice.Password)
	for i, want := range alice.Mail {
		got := Content(c.Must(t, fmt.Sprintf("RETR %d", i+1)))
		if !bytes.Equal(unix(got), unix(want)) {
			t.Errorf("message %d: got %d octets %.80q, want %d octets %.80q", i+1, len(got), got, len(want), want)
		}
	}
	if reply := c.Must(t, "QUIT"); !OK(reply) {
		t.Errorf("QUIT: %q", reply)
	}
	if rest, err := c.Rest(); rest != "" || err != nil {
		t.Errorf("after QUIT: %q, %v", rest, err)
	}
}

// Every mechanism logs in with the right password and not with another.
func TestMechanismsOnDovecot(t *testing.T) {
	t.Parallel()
	alice := Account{"alice", "peers auth 2Qz9", Small(1)}
	s := Dovecot(t, alice)
	for _, mechanism := range Mechanisms {
		for password, want := range map[string]bool{alice.Password: true, "peers wrong 7Tb4": false} {
			c := MustDial(t, s.Target(Plain, alice))
			reply, _, err := c.Auth(mechanism, alice.User, password)
			if OK(reply) != want {
				t.Errorf("%s with %q: %q, %v", mechanism, password, reply, err)
			}
		}
	}
}

// Mailutils gives every client its mail.
func TestClientsOnMailutils(t *testing.T) {
	t.Parallel()
	alice := Account{"alice@example.test", "peers legacy 6Hd3", Small(5)}
	s := Mailutils(t, alice)
	for _, c := range Clients {
		if c.Legacy {
			c.Fetch(t, s.Target(Plain, alice), len(alice.Mail))
		}
	}
}

// unix leaves out CRs before LF, and a last newline.
func unix(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\n"))
}
