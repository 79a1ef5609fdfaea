package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// A backend that takes nobody without a certificate takes the gate that has one, and a certificate that is replaced
// is shown from then on.
func TestBackendClientCertificate(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e own certificate 3Tv5", Mail: peers.Small(3)}
	backend := peers.SecureDovecot(t, peers.Security{ClientCA: authority.File}, alice)
	own := peers.SelfSigned(t, peers.Leaf{Name: "gate.example.test"})
	for _, mode := range []peers.Mode{peers.STLS, peers.TLS} {
		flags := []string{"--backend-tls", backendTLS[mode], "--backend-ca", backend.CAFile}
		addr := byName(t, backend.Target(mode, alice).Addr)
		bare := serve(t, addr, []peers.Account{alice}, flags...)
		if bare.admits(t, alice) {
			t.Errorf("%s: logged in without a certificate", mode)
		}
		g := serve(t, addr, []peers.Account{alice}, append(flags, "--backend-cert", own.Cert, "--backend-key", own.Key)...)
		if g.admits(t, alice) {
			t.Errorf("%s: logged in with a certificate of nobody's", mode)
		}
		own.Replace(t, authority.Issue(t, peers.Leaf{Name: "gate.example.test"}))
		eventually(t, "the new certificate to be shown", func() bool { return g.admits(t, alice) }, g.showLog)
		g.readThrough(t, alice)
		own.Replace(t, peers.SelfSigned(t, peers.Leaf{Name: "gate.example.test"})) // for the other mode
	}
}

// A server that merely asks for certificates breaks off handshakes that resume, when it is made with OpenSSL and not
// with care, as Dovecot 2.3. One session pays for that knowledge, and no more.
func TestBackendThatCannotResume(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e cannot resume 1Bf8", Mail: peers.Small(1)}
	backend := peers.SecureDovecot(t, peers.Security{ClientCA: authority.File, Asks: true}, alice)
	g := serve(t, byName(t, backend.AddrTLS), []peers.Account{alice}, "--backend-tls", "tls", "--backend-ca", backend.CAFile)
	failed := 0
	for range 6 {
		c := peers.MustDial(t, g.target(peers.TLS, alice))
		if !peers.OK(c.Greeting) {
			failed++
		}
		c.Conn.Close()
	}
	if failed > 1 {
		t.Errorf("%d of 6 sessions failed", failed)
	}
	g.readThrough(t, alice)
}

// admits tells whether a can log in.
func (g *gate) admits(t *testing.T, a peers.Account) bool {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.TLS, a))
	defer c.Conn.Close()
	c.Must(t, "USER "+a.User)
	reply, err := c.Do("PASS " + a.Password)
	return err == nil && peers.OK(reply)
}

// clientCase is a client with a certificate or without, and what becomes of it.
type clientCase struct {
	mode   string // --tls-client-auth
	who    string
	taken  bool
	marked bool // its certificate is on record
}

// Clients show certificates as the setting says: what is shown must be good, and is on record.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	authority, stranger := peers.NewAuthority(t), peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e client certificates 8Kd1", Mail: peers.Small(2)}
	backend := peers.Dovecot(t, alice)
	clients := map[string]peers.Pair{
		"nothing":        {},
		"the right one":  authority.Issue(t, peers.Leaf{Name: "laptop.example.test"}),
		"RSA":            authority.Issue(t, peers.Leaf{Name: "desk.example.test", RSA: true}),
		"an expired one": authority.Issue(t, peers.Leaf{Name: "laptop.example.test", Expired: true}),
		"a stranger's":   stranger.Issue(t, peers.Leaf{Name: "laptop.example.test"}),
		"a self-made":    peers.SelfSigned(t, peers.Leaf{Name: "laptop.example.test"}),
	}
	gates := make(map[string]*gate)
	for _, mode := range []string{"off", "request", "require"} {
		flags := []string{"--tls-client-auth", mode}
		if mode != "off" {
			flags = append(flags, "--tls-client-ca", authority.File)
		}
		gates[mode] = serve(t, backend.Addr, []peers.Account{alice}, flags...)
	}
	for _, test := range []clientCase{
		{"off", "nothing", true, false},
		{"off", "the right one", true, false},
		{"off", "a stranger's", true, false},
		{"request", "nothing", true, false},
		{"request", "the right one", true, true},
		{"request", "RSA", true, true},
		{"request", "an expired one", false, false},
		{"request", "a stranger's", false, false},
		{"request", "a self-made", false, false},
		{"require", "nothing", false, false},
		{"require", "the right one", true, true},
		{"require", "RSA", true, true},
		{"require", "an expired one", false, false},
		{"require", "a stranger's", false, false},
		{"require", "a self-made", false, false},
	} {
		t.Run(test.mode+"/"+test.who, func(t *testing.T) { test.check(t, gates[test.mode], alice, clients[test.who]) })
	}
}

func (test clientCase) check(t *testing.T, g *gate, a peers.Account, own peers.Pair) {
	t.Helper()
	for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
		target := g.target(mode, a)
		target.Own = own
		if !test.taken {
			before := g.failedHandshakes(t)
			checkShutOut(t, target)
			eventually(t, "the failed handshake to be counted", func() bool { return g.failedHandshakes(t) == before+1 }, g.showLog)
			continue
		}
		for _, name := range []string{"curl", "openssl"} {
			peers.Named(name).Fetch(t, target, len(a.Mail))
			checkClientFacts(t, g.newest(t).TLS, own, test.marked)
		}
	}
}

// checkShutOut expects that curl gets no further than the handshake.
func checkShutOut(t *testing.T, target peers.Target) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := []string{"--silent", "--show-error", "--ssl-reqd", "--cacert", target.CAFile, "--user", target.User + ":" + target.Password}
	if target.Own.Cert != "" {
		args = append(args, "--cert", target.Own.Cert, "--key", target.Own.Key)
	}
	scheme := map[peers.Mode]string{peers.TLS: "pop3s://", peers.STLS: "pop3://"}[target.Mode]
	out, err := exec.CommandContext(ctx, peers.Need(t, "curl", "curl"), append(args, scheme+target.Addr+"/1")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "alert") {
		t.Errorf("%s: %v, %q; want an alert of TLS", target.Mode, err, out)
	}
}

// failedHandshakes is that counter of the gate's.
func (g *gate) failedHandshakes(t *testing.T) (count int) {
	t.Helper()
	for line := range strings.Lines(string(g.fetch(t, "/metrics"))) {
		if value, found := strings.CutPrefix(line, "postern_tls_handshakes_failed_total "); found {
			fmt.Sscan(value, &count)
			return count
		}
	}
	t.Fatal("there is no such metric")
	return 0
}

// anyJA4 is what the fingerprint of a client in TLS 1.3 looks like.
const anyJA4 = `^t13[di][0-9]{4}[0-9a-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}$`

// checkClientFacts compares what is on record of a client's certificate.
func checkClientFacts(t *testing.T, facts *audit.TLS, own peers.Pair, marked bool) {
	t.Helper()
	if facts == nil {
		t.Fatal("nothing is on record of the client's TLS")
	}
	subject, fingerprint := "", ""
	if marked {
		sum := sha256.Sum256(own.Leaf.Raw)
		subject, fingerprint = own.Leaf.Subject.String(), hex.EncodeToString(sum[:])
	}
	if !regexp.MustCompile(anyJA4).MatchString(facts.JA4) || facts.Serial == "" || facts.Handshake <= 0 {
		t.Errorf("on record of the client's handshake: %+v", facts)
	}
	if facts.Subject != subject || facts.SHA256 != fingerprint {
		t.Errorf("on record of the client: %q, %q; want %q, %q", facts.Subject, facts.SHA256, subject, fingerprint)
	}
}

// With AUTH EXTERNAL a client is who its certificate says, and nobody else, though the backend would believe the gate
// anything.
func TestExternal(t *testing.T) {
	t.Parallel()
	clients, gates := peers.NewAuthority(t), peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e external 6Gp7", Mail: peers.Small(1)}
	bob := peers.Account{User: "bob", Password: "e2e external 2Yw4", Mail: peers.Small(1)}
	backend := peers.SecureDovecot(t, peers.Security{ClientCA: gates.File, External: true}, alice, bob)
	own := gates.Issue(t, peers.Leaf{Name: "gate.example.test"})
	flags := []string{"--backend-tls", "tls", "--backend-ca", backend.CAFile, "--backend-cert", own.Cert, "--backend-key", own.Key,
		"--tls-client-auth", "request", "--tls-client-ca", clients.File}
	match := serve(t, byName(t, backend.AddrTLS), []peers.Account{alice, bob}, append(flags, "--auth-external", "match")...)
	relay := serve(t, byName(t, backend.AddrTLS), []peers.Account{alice, bob}, flags...)
	certificates := map[string]peers.Pair{
		"alice":          clients.Issue(t, peers.Leaf{Name: "alice"}),
		"alice's mail":   clients.Issue(t, peers.Leaf{Name: "laptop.example.test", Emails: []string{"alice"}}),
		"somebody else":  clients.Issue(t, peers.Leaf{Name: "bob"}),
		"no certificate": {},
	}
	for name, certificate := range certificates {
		for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
			for _, identity := range []string{"alice", "", "alice\x00"} {
				target := match.target(mode, alice)
				target.Own = certificate
				good := strings.HasPrefix(name, "alice") && identity == "alice"
				checkExternal(t, match, target, identity, good)
				target = relay.target(mode, alice)
				target.Own = certificate
				checkExternal(t, relay, target, identity, false) // the backend would take the gate's word for it
			}
		}
	}
}

// checkExternal claims an identity, with the command and after a challenge.
func checkExternal(t *testing.T, g *gate, target peers.Target, identity string, good bool) {
	t.Helper()
	who := "nobody"
	if target.Own.Cert != "" {
		who = target.Own.Leaf.Subject.String()
	}
	response := base64.StdEncoding.EncodeToString([]byte(identity))
	first := response
	if first == "" {
		first = "=" // RFC 5034 section 4
	}
	for _, lines := range [][]string{{"AUTH EXTERNAL " + first}, {"auth external", response}} {
		c := peers.MustDial(t, target)
		var reply string
		for _, line := range lines {
			var err error
			if reply, err = c.Step(line); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(reply, "+ ") && !strings.HasPrefix(reply, "+\r") {
				break
			}
		}
		if peers.OK(reply) != good {
			t.Errorf("%s, %q of %s: %q, want success %v", target.Mode, lines, who, reply, good)
		}
		c.Must(t, "QUIT")
		s := g.sessionOf(t, c)
		if good && (s.User != identity || s.Mechanism != "EXTERNAL" || s.Login != proxy.LoginOK) || !good && s.Login == proxy.LoginOK {
			t.Errorf("%s, %q of %s: recorded as %q by %q: %s", target.Mode, lines, who, s.User, s.Mechanism, s.Login)
		}
	}
}
