package tlsup

import (
	"crypto/ecdsa"
	"crypto/tls"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// obtained waits until n certificates are in service.
func obtained(t *testing.T, s *Source, n int) []Certificate {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got := s.Expiry(); len(got) >= n {
			return got
		}
	}
	t.Fatalf("%d certificates after 10 s, want %d", len(s.Expiry()), n)
	return nil
}

// Each way in which a challenge can be met ends in a certificate that a mail client verifies.
func TestACME(t *testing.T) {
	tests := map[string]struct {
		challenge   string
		ownListener bool // it is met where mail is fetched
	}{
		"HTTP-01":                          {"http-01", false},
		"TLS-ALPN-01":                      {"tls-alpn-01", false},
		"TLS-ALPN-01 on the mail listener": {"tls-alpn-01", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log logBook
			l, port := listen(t), freePort(t)
			if test.ownListener {
				port = l.Addr().(*net.TCPAddr).Port
			}
			ca := startPebble(t, port, port)
			c := Config{ACMEDomains: []string{"Pop.Example.Test"}, ACMEEmail: "ops@example.test", ACMEDirectory: ca.directory,
				ACMERoots: ca.apiRoots, ACMEHTTPPort: port, ACMETLSPort: -1, ACMEHost: "127.0.0.1",
				DataDir: t.TempDir(), Logger: log.logger(t)}
			if test.challenge == "tls-alpn-01" {
				c.ACMEHTTPPort, c.ACMETLSPort = c.ACMETLSPort, c.ACMEHTTPPort
			}
			s := open(t, c)
			addr := greet(t, l, s.TLSConfig())
			got := obtained(t, s, 1)
			if !slices.Equal(got[0].Names, []string{"pop.example.test"}) || got[0].Source != SourceACME ||
				time.Until(got[0].NotAfter) < 80*24*time.Hour {
				t.Errorf("expiry %v", got)
			}
			if !strings.Contains(log.String(), "challenge="+test.challenge) {
				t.Error("another challenge was met")
			}
			checkClients(t, ca, addr)
			checkStored(t, c.DataDir)
			checkQuiet(t, &log)
		})
	}
}

// checkClients comes with and without a server name, by an alias, and with protocols.
func checkClients(t *testing.T, ca *pebble, addr string) {
	t.Helper()
	state, err := dial(addr, &tls.Config{RootCAs: ca.roots, ServerName: "pop.example.test", NextProtos: []string{"pop3"}})
	if err != nil {
		t.Fatal(err)
	}
	key, ok := state.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve.Params().Name != "P-256" || state.NegotiatedProtocol != "pop3" {
		t.Errorf("protocol %q, key %T", state.NegotiatedProtocol, state.PeerCertificates[0].PublicKey)
	}
	// An address as server name is not sent: this is a client without SNI.
	for _, name := range []string{"127.0.0.1", "alias.example.test"} {
		state, err := dial(addr, &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil || state.PeerCertificates[0].VerifyHostname("pop.example.test") != nil {
			t.Errorf("as %s: error %v", name, err)
		}
	}
	for _, protocol := range []string{"http/1.1", ProtocolACME} {
		_, err := dial(addr, &tls.Config{RootCAs: ca.roots, ServerName: "pop.example.test", NextProtos: []string{protocol}})
		if err == nil {
			t.Errorf("protocol %s accepted", protocol)
		}
	}
}

// checkStored sees that nobody else can read what was kept.
func checkStored(t *testing.T, dir string) {
	t.Helper()
	var keys int
	err := filepath.WalkDir(filepath.Join(dir, "acme"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if strings.HasSuffix(path, ".key") {
			keys++
		}
		return nil
	})
	if err != nil || keys != 2 {
		t.Errorf("%d keys kept, want the account's and the certificate's; error %v", keys, err)
	}
}

// checkQuiet sees that the log tells the story, and neither nonces nor answers to challenges.
func checkQuiet(t *testing.T, log *logBook) {
	t.Helper()
	for _, want := range []string{"level=INFO msg=\"certificate ordered\" name=pop.example.test", "level=INFO msg=\"certificate obtained\""} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	for _, never := range []string{"Replay-Nonce", "PRIVATE KEY", "acme-challenge/", "level=ERROR"} {
		if strings.Contains(log.String(), never) {
			t.Errorf("the log says %s", never)
		}
	}
}

// Two names get a certificate each; after a restart they are served though the authority is gone.
func TestACMERestart(t *testing.T) {
	port := freePort(t)
	ca := startPebble(t, port, port)
	c := Config{ACMEDomains: []string{"a.example.test", "b.example.test"}, ACMEDirectory: ca.directory, ACMERoots: ca.apiRoots,
		ACMEHTTPPort: port, ACMETLSPort: -1, ACMEHost: "127.0.0.1", DataDir: t.TempDir()}
	s := open(t, c)
	obtained(t, s, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ca.stop()
	s = open(t, c)
	obtained(t, s, 2)
	addr := greet(t, listen(t), s.TLSConfig())
	for _, name := range c.ACMEDomains {
		if _, err := dial(addr, &tls.Config{RootCAs: ca.roots, ServerName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An authority that cannot be reached keeps nobody from starting, nor from ending.
func TestACMEUnreachable(t *testing.T) {
	// What keeps a lock's file fresh sleeps five seconds before it sees that the lock is gone.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	var log logBook
	directory, dir := "https://"+freeAddr(t)+"/dir", t.TempDir()
	s, err := New(t.Context(), Config{ACMEDomains: []string{"pop.example.test"}, ACMEDirectory: directory,
		ACMEHTTPPort: freePort(t), ACMETLSPort: -1, ACMEHost: "127.0.0.1", DataDir: dir, Logger: log.logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "certificate not obtained"); {
		if time.Now().After(end) {
			t.Fatal("the log does not tell what is waited for")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(log.String(), "name=pop.example.test renewal=false authority="+directory) {
		t.Error("the log names neither the domain nor the authority")
	}
	client, server := net.Pipe()
	go tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
	if err := tls.Server(server, s.TLSConfig()).Handshake(); err == nil {
		t.Error("a handshake without a certificate succeeded")
	}
	client.Close()
	server.Close()
	start := time.Now()
	s.Close()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
	if locks, _ := filepath.Glob(filepath.Join(dir, "acme", "locks", "*")); len(locks) != 0 {
		t.Errorf("locks left behind: %v", locks)
	}
	if len(s.Expiry()) != 0 {
		t.Error("a certificate out of nowhere")
	}
}
