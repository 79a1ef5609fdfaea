package peers

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
)

// Dovecot speaks TLS as it was told to: the tests of the gate prove nothing else.
func TestSecureDovecot(t *testing.T) {
	t.Parallel()
	a := NewAuthority(t)
	client := a.Issue(t, Leaf{Name: "gate.example.test"})
	for _, test := range []struct {
		name     string
		security Security
		own      Pair
		refused  string // part of what a client that verifies says
		login    bool
		version  uint16
	}{
		{"self-signed", Security{}, Pair{}, "", true, tls.VersionTLS13},
		{"good", Security{Pair: a.Issue(t, Leaf{}), CAFile: a.File}, Pair{}, "", true, tls.VersionTLS13},
		{"good, RSA", Security{Pair: a.Issue(t, Leaf{RSA: true}), CAFile: a.File}, Pair{}, "", true, tls.VersionTLS13},
		{"expired", Security{Pair: a.Issue(t, Leaf{Expired: true}), CAFile: a.File}, Pair{}, "expired", false, 0},
		{"wrong name", Security{Pair: a.Issue(t, Leaf{Name: "other.example.test"}), CAFile: a.File}, Pair{},
			"not localhost", false, 0},
		{"unknown authority", Security{Pair: a.Issue(t, Leaf{}), CAFile: client.Cert}, Pair{}, "unknown authority", false, 0},
		{"old", Security{Old: true}, Pair{}, "EOF", false, 0}, // without an alert
		{"no client certificate", Security{ClientCA: a.File}, Pair{}, "", false, tls.VersionTLS13},
		{"client certificate", Security{ClientCA: a.File}, client, "", true, tls.VersionTLS13},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			alice := Account{"alice", "peers security 4Wv7", Small(1)}
			s := SecureDovecot(t, test.security, alice)
			for _, mode := range []Mode{TLS, STLS} {
				target := s.Target(mode, alice)
				target.Own = test.own
				c, err := Dial(target)
				if test.refused != "" {
					if err == nil || !strings.Contains(err.Error(), test.refused) {
						t.Errorf("%s: %v, want %q", mode, err, test.refused)
					}
					continue
				}
				if err != nil {
					t.Fatal(mode, err)
				}
				defer c.Conn.Close()
				if version := c.Conn.(*tls.Conn).ConnectionState().Version; version != test.version {
					t.Errorf("%s: %s", mode, tls.VersionName(version))
				}
				c.Must(t, "USER alice")
				if reply := c.Must(t, "PASS "+alice.Password); OK(reply) != test.login {
					t.Errorf("%s: %q", mode, reply)
				}
			}
		})
	}
}

// Who has the right certificate logs in as anybody by EXTERNAL, as a gate should that its server trusts.
func TestExternalOnDovecot(t *testing.T) {
	t.Parallel()
	a := NewAuthority(t)
	alice := Account{"alice", "peers external 5Hs3", Small(1)}
	s := SecureDovecot(t, Security{ClientCA: a.File, External: true}, alice)
	for _, own := range []Pair{a.Issue(t, Leaf{Name: "gate.example.test"}), SelfSigned(t, Leaf{Name: "alice"}), {}} {
		target := s.Target(TLS, alice)
		target.Own = own
		c := MustDial(t, target)
		reply, err := c.Step("AUTH EXTERNAL YWxpY2U=")
		if good := own.Cert != "" && own.Leaf.Subject.CommonName != "alice"; err != nil || OK(reply) != good {
			t.Errorf("%q, %v; want success %v", reply, err, good)
		}
	}
}

// An old server speaks TLS 1.0 and nothing newer.
func TestOldDovecot(t *testing.T) {
	t.Parallel()
	s := SecureDovecot(t, Security{Old: true})
	for version, able := range map[uint16]bool{tls.VersionTLS10: true, tls.VersionTLS11: false, tls.VersionTLS12: false} {
		conn, err := tls.Dial("tcp", s.AddrTLS, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if (err == nil) != able {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// A server without TLS offers none, and refuses it.
func TestDovecotWithoutTLS(t *testing.T) {
	t.Parallel()
	s := SecureDovecot(t, Security{None: true})
	c := MustDial(t, s.Target(Plain, Account{}))
	if capa := c.Must(t, "CAPA"); strings.Contains(capa, "STLS") || OK(c.Must(t, "STLS")) {
		t.Errorf("CAPA: %q", capa)
	}
}

// A tap keeps what was sent, by connection, and lets both sides have theirs.
func TestTap(t *testing.T) {
	t.Parallel()
	alice := Account{"alice", "peers tap 8Ln2", Small(1)}
	s := Dovecot(t, alice)
	tap := NewTap(t, s.Addr)
	s.Addr = tap.Addr
	for _, mode := range []Mode{Plain, STLS} {
		c := MustDial(t, s.Target(mode, alice))
		c.Login(t, alice.User, alice.Password)
		c.Must(t, "QUIT")
		if rest, err := c.Rest(); rest != "" || err != nil {
			t.Errorf("%s: after QUIT: %q, %v", mode, rest, err)
		}
	}
	sent := tap.Sent()
	if len(sent) != 2 || sent[0] != "USER alice\r\nPASS "+alice.Password+"\r\nQUIT\r\n" ||
		!strings.HasPrefix(sent[1], "STLS\r\n\x16\x03") || strings.Contains(sent[1], alice.Password) {
		t.Errorf("%q", sent)
	}
}

// A pair is replaced in its place.
func TestReplacePair(t *testing.T) {
	first, second := SelfSigned(t, Leaf{}), SelfSigned(t, Leaf{})
	want, err := os.ReadFile(second.Cert)
	if err != nil {
		t.Fatal(err)
	}
	first.Replace(t, second)
	if got, err := os.ReadFile(first.Cert); err != nil || string(got) != string(want) {
		t.Errorf("%v, %.40q", err, got)
	}
	if _, err := tls.LoadX509KeyPair(first.Cert, first.Key); err != nil {
		t.Error(err)
	}
}
