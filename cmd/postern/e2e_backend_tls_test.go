package main

import (
	"net"
	"slices"
	"strings"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// backendTLS is the setting by which the backend is spoken to as a client would by mode.
var backendTLS = map[peers.Mode]string{peers.Plain: "plain", peers.STLS: "stls", peers.TLS: "tls"}

// byName is addr with the name that certificates have.
func byName(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port)
}

// Real clients get their mail through TLS on both legs as they get it from Dovecot itself, the log has the facts of
// the leg behind, and nothing crosses it in clear text.
func TestBackendTLS(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	pair := authority.Issue(t, peers.Leaf{})
	alice := peers.Account{User: "alice", Password: "e2e backend tls 2Fn6", Mail: peers.Corpus()}
	backend := peers.SecureDovecot(t, peers.Security{Pair: pair, CAFile: authority.File}, alice)
	bodies := retrieveAll(t, backend.Target(peers.Plain, alice), len(alice.Mail))
	for _, mode := range []peers.Mode{peers.STLS, peers.TLS} {
		t.Run(string(mode), func(t *testing.T) {
			tap := peers.NewTap(t, backend.Target(mode, alice).Addr)
			g := serve(t, byName(t, tap.Addr), []peers.Account{alice},
				"--backend-tls", backendTLS[mode], "--backend-ca", authority.File)
			for i, name := range []string{"curl", "poplib", "Net::POP3", "fetchmail"} {
				client := peers.Named(name)
				want := client.Fetch(t, backend.Target(mode, alice), len(alice.Mail))
				peers.Same(t, want, client.Fetch(t, g.target(mode, alice), len(alice.Mail)))
				checkFetch(t, g, client, mode, bodies)
				checkBackendFacts(t, g.newest(t).BackendTLS, pair.Serial(), i > 0)
			}
			checkSealed(t, tap.Sent())
			checkLegsShown(t, g)
		})
	}
}

// checkBackendFacts looks at what is on record of a backend's leg that was verified by name.
func checkBackendFacts(t *testing.T, facts *audit.TLS, serial string, resumed bool) {
	t.Helper()
	if facts == nil {
		t.Error("nothing is on record of the backend's TLS")
		return
	}
	if facts.Version != "TLS 1.3" || facts.Cipher == "" || facts.Group == "" || facts.Handshake <= 0 ||
		facts.SNI != "localhost" || facts.Verified != "name:localhost" || facts.Resumed != resumed || facts.Legacy {
		t.Errorf("on record of the backend's TLS: %+v; want it verified, resumed %v", facts, resumed)
	}
	if !resumed && facts.Serial != serial {
		t.Errorf("the backend's certificate is on record as %q, want %q", facts.Serial, serial)
	}
}

// checkLegsShown looks for the backend's leg where a person reads.
func checkLegsShown(t *testing.T, g *gate) {
	t.Helper()
	id := g.newest(t).ID.String()
	contains(t, "postern session", g.command(t, "session", id), "backend in TLS 1.3, verified as localhost")
	contains(t, "postern session --json", g.command(t, "session", "--json", id), `"backend_tls":{"version":"TLS 1.3"`)
	contains(t, "the API", string(g.fetch(t, "/api/sessions/"+id)), `"verified":"name:localhost"`)
}

// checkSealed fails the test when anything crossed a wire that is neither TLS nor a question for it.
func checkSealed(t *testing.T, sent []string) {
	t.Helper()
	if len(sent) == 0 {
		t.Error("nothing was sent at all")
	}
	for _, all := range sent {
		open, sealed := all, ""
		if i := strings.Index(all, "\x16\x03"); i >= 0 {
			open, sealed = all[:i], all[i:]
		}
		for line := range strings.Lines(open) {
			if !slices.Contains([]string{"CAPA\r\n", "STLS\r\n", "QUIT\r\n"}, line) {
				t.Errorf("in clear text: %q", line)
			}
		}
		if rest := afterRecords(sealed); rest != "" {
			t.Errorf("among TLS records: %.100q", rest)
		}
	}
}

// afterRecords is what follows the TLS records that text begins with, the last of which may be cut.
func afterRecords(text string) string {
	const header, first, last = 5, 20, 23 // RFC 8446 section 5.1
	for len(text) >= header {
		if text[0] < first || text[0] > last || text[1] != 3 {
			return text
		}
		text = text[min(len(text), header+int(text[3])<<8+int(text[4])):]
	}
	return ""
}

// A check that finds nothing proves something only when it can fail.
func TestAfterRecords(t *testing.T) {
	hello := "\x16\x03\x01\x00\x02xy"
	for text, want := range map[string]string{"": "", hello: "", hello + hello[:6]: "", hello + "USER alice\r\n": "USER alice\r\n",
		hello[:6]: "", "USER alice\r\n": "USER alice\r\n"} {
		if got := afterRecords(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// certificateCase is a backend's certificate and what the settings make of it.
type certificateCase struct {
	name     string
	backend  *peers.Server
	flags    []string
	verified string   // what the record says of it
	refused  []string // or the words that the end of the session has
}

func certificateCases(t *testing.T, alice peers.Account) []certificateCase {
	authority, stranger := peers.NewAuthority(t), peers.NewAuthority(t)
	pairs := map[string]peers.Pair{
		"good":    authority.Issue(t, peers.Leaf{}),
		"expired": authority.Issue(t, peers.Leaf{Expired: true}),
		"wrong":   authority.Issue(t, peers.Leaf{Name: "other.example.test"}),
		"self":    peers.SelfSigned(t, peers.Leaf{}),
	}
	pairs["forged"] = peers.SelfSigned(t, peers.Leaf{}).Before(t, pairs["good"])
	pairs["rival"] = authority.Issue(t, peers.Leaf{}).Before(t, pairs["good"])
	backends := make(map[string]*peers.Server)
	for name, pair := range pairs {
		backends[name] = peers.SecureDovecot(t, peers.Security{Pair: pair, CAFile: authority.File}, alice)
	}
	ca := []string{"--backend-ca", authority.File}
	pinned := func(name string) []string { return []string{"--backend-pin", pairs[name].Pin()} }
	unknown := []string{"nobody here vouches for", "backend-ca", "backend-pin"}
	return []certificateCase{
		{"good, by its authority", backends["good"], ca, "name:localhost", nil},
		{"good, by its pin", backends["good"], pinned("good"), "pin:" + pairs["good"].Pin(), nil},
		{"good, by both", backends["good"], append(pinned("good"), ca...), "name:localhost,pin:" + pairs["good"].Pin(), nil},
		{"good, by one of two pins", backends["good"], append(pinned("self"), pinned("good")...), "pin:" + pairs["good"].Pin(), nil},
		{"good, another pin", backends["good"], pinned("self"), "", []string{"pin", pairs["good"].Pin()}},
		{"good, another pin and its authority", backends["good"], append(pinned("self"), ca...), "", []string{"pin"}},
		{"good, its pin and another authority", backends["good"], append(pinned("good"), "--backend-ca", stranger.File), "", unknown},
		{"good, another authority", backends["good"], []string{"--backend-ca", stranger.File}, "", unknown},
		{"good, the system's roots", backends["good"], nil, "", unknown},
		{"the pinned one behind another", backends["forged"], pinned("good"), "", []string{"pin", pairs["forged"].Pin()}},
		{"the pinned one behind a rival's", backends["rival"], append(pinned("good"), ca...), "", []string{"pin", pairs["rival"].Pin()}},
		{"expired", backends["expired"], ca, "", []string{"expired"}},
		{"expired, any", backends["expired"], []string{"--backend-verify", "none"}, "", nil},
		{"wrong name", backends["wrong"], ca, "", []string{"other.example.test", "localhost", "backend-name"}},
		{"wrong name, said", backends["wrong"], append([]string{"--backend-name", "other.example.test"}, ca...), "name:other.example.test", nil},
		{"self-signed", backends["self"], ca, "", unknown},
		{"self-signed, as its own root", backends["self"], []string{"--backend-ca", pairs["self"].Cert}, "name:localhost", nil},
		{"self-signed, by its pin", backends["self"], pinned("self"), "pin:" + pairs["self"].Pin(), nil},
		{"self-signed, any", backends["self"], []string{"--backend-verify", "none"}, "", nil},
	}
}

// A backend's certificate is taken when the settings vouch for it, and otherwise the client is told that the server
// is not available, the operator why and what to do, and nothing in between anything at all.
func TestBackendCertificates(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e certificates 7Rk4", Mail: peers.Small(2)}
	for _, test := range certificateCases(t, alice) {
		for _, mode := range []peers.Mode{peers.STLS, peers.TLS} {
			t.Run(test.name+"/"+string(mode), func(t *testing.T) {
				tap := peers.NewTap(t, test.backend.Target(mode, alice).Addr)
				flags := append([]string{"--backend-tls", backendTLS[mode]}, test.flags...)
				g := serve(t, byName(t, tap.Addr), []peers.Account{alice}, flags...)
				if test.refused != nil {
					checkEnd(t, g.turnedAway(t, alice), "tls_failed", test.refused...)
				} else if facts := g.readThrough(t, alice).BackendTLS; facts == nil || facts.Verified != test.verified {
					t.Errorf("on record: %+v, want verified %q", facts, test.verified)
				}
				checkSealed(t, tap.Sent())
				if warned := g.log.warns("verif"); warned != slices.Contains(test.flags, "none") {
					t.Errorf("a warning that nothing is verified: %v", warned)
				}
			})
		}
	}
}

// warns tells whether a warning has words in it.
func (l *logBuffer) warns(words string) bool {
	return slices.ContainsFunc(l.entries(), func(e map[string]any) bool {
		message, _ := e["msg"].(string)
		return e["level"] == "WARN" && strings.Contains(message, words)
	})
}

// readThrough reads a's first message through the gate and returns the session.
func (g *gate) readThrough(t *testing.T, a peers.Account) audit.Session {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.TLS, a))
	c.Login(t, a.User, a.Password)
	if reply := c.Must(t, "RETR 1"); !peers.OK(reply) {
		t.Errorf("RETR 1: %q", reply)
	}
	c.Must(t, "QUIT")
	return g.sessionOf(t, c)
}

// turnedAway expects that clients, a hurried one too, get one -ERR that software understands and nothing else, and
// returns the record of the last one's end.
func (g *gate) turnedAway(t *testing.T, a peers.Account) audit.Record {
	t.Helper()
	var end audit.Record
	for _, mode := range []peers.Mode{peers.TLS, peers.Plain} {
		c, err := peers.Connect(g.target(mode, a))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Conn.Close()
		if mode == peers.TLS {
			c.Send("USER " + a.User + "\r\nPASS " + a.Password + "\r\n") // an error comes again with the read
		}
		said, err := c.Rest()
		if err != nil || !strings.HasPrefix(said, "-ERR [SYS/TEMP] ") || strings.Count(said, "\r\n") != 1 ||
			!strings.HasSuffix(said, "\r\n") {
			t.Errorf("%s: the client is told %q, %v; want one -ERR [SYS/TEMP]", mode, said, err)
		}
		records := g.transcript(t, g.sessionOf(t, c))
		end = records[len(records)-1]
	}
	return end
}

// checkEnd compares the record of an end that is the backend's doing with its reason and words.
func checkEnd(t *testing.T, end audit.Record, reason string, words ...string) {
	t.Helper()
	if end.Kind != proxy.KindEnd || end.Side != proxy.SideBackend || end.Detail != reason {
		t.Errorf("recorded: %s by %s: %s, %q; want the end by the backend: %s", end.Kind, end.Side, end.Detail, end.Text, reason)
	}
	contains(t, "the end of the session", end.Text, words...)
}

// Postern speaks with a server that knows nothing newer than TLS 1.0 only when that was asked for, and says so.
func TestOldBackend(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e old backend 9Dw2", Mail: peers.Small(2)}
	backend := peers.SecureDovecot(t, peers.Security{Old: true}, alice)
	for _, mode := range []peers.Mode{peers.STLS, peers.TLS} {
		for version, works := range map[string]bool{"1.0": true, "1.1": false, "": false} {
			t.Run(string(mode)+"/"+version, func(t *testing.T) {
				tap := peers.NewTap(t, backend.Target(mode, alice).Addr)
				flags := []string{"--backend-tls", backendTLS[mode], "--backend-ca", backend.CAFile}
				if version != "" {
					flags = append(flags, "--backend-tls-min", version)
				}
				g := serve(t, byName(t, tap.Addr), []peers.Account{alice}, flags...)
				if !works {
					checkEnd(t, g.turnedAway(t, alice), "tls_failed", "backend-tls-min")
				} else if facts := g.readThrough(t, alice).BackendTLS; facts == nil || facts.Version != "TLS 1.0" || !facts.Legacy {
					t.Errorf("on record: %+v, want TLS 1.0, marked as legacy", facts)
				}
				checkSealed(t, tap.Sent())
			})
		}
	}
}
