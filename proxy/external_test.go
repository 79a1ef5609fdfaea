package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"testing"
	"time"
)

// certificateOf makes a client's certificate.
func certificateOf(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, EmailAddresses: []string{name + "@example.org"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dialAs opens a session with a client's certificate.
func (w *world) dialAs(cert tls.Certificate) *talker {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	c := &talker{t: w.t, conn: conn, r: bufio.NewReader(conn)}
	c.want("+OK tiny\r\n")
	return c
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestExternalMustMatchTheCertificate(t *testing.T) {
	w := newWorld(t, func(s *Server) {
		s.TLS.ClientAuth = tls.RequireAnyClientCert
		s.Rules.MatchExternal = true
	})
	cert := certificateOf(t, "alice")
	c := w.dialAs(cert)
	c.ask("AUTH EXTERNAL "+encode("bob"), notVouched+"\r\n")
	c.ask("AUTH EXTERNAL =", notVouched+"\r\n")
	c.ask("AUTH EXTERNAL", "+ \r\n")
	c.ask(encode("bob"), "+OK\r\n") // to the "*" that stands in its place
	w.rowsWith("external_mismatch", 1)

	for _, name := range []string{"alice", "alice@example.org"} {
		c = w.dialAs(cert)
		c.ask("AUTH EXTERNAL "+encode(name), "+ \r\n")
		c.ask(encode(name), "+OK\r\n")
		w.rowsWith("user=\""+name+"\"", 1)
	}
}

// TestExternalThroughTheProxysCertificate would let any client log in as whom it likes.
func TestExternalThroughTheProxysCertificate(t *testing.T) {
	w := newWorld(t, func(s *Server) {
		s.BackendSecurity = SecurityTLS
		s.Backend, s.BackendTLS = secureBackend(t, SecurityTLS, tls.VersionTLS13)
		s.BackendTLS.Certificates = []tls.Certificate{certificateOf(t, "proxy")}
	})
	w.dial().ask("AUTH EXTERNAL "+encode("bob"), "-ERR this mechanism does not work through a proxy\r\n")
}

func TestFactsOfTheClientsLeg(t *testing.T) {
	shown := certificateOf(t, "shown")
	shown.Leaf, _ = x509.ParseCertificate(shown.Certificate[0])
	w := newWorld(t, func(s *Server) {
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS10, NextProtos: []string{"pop3"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &shown, nil }}
		s.Fingerprint = func(hello *tls.ClientHelloInfo) string { return "print of " + hello.ServerName }
	})
	cert := certificateOf(t, "alice")
	conn, err := tls.Dial("tcp", w.pop3s, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert},
		ServerName: "pop.example.org", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, NextProtos: []string{"pop3"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &talker{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.want("+OK tiny\r\n")
	c.ask("NOOP", "+OK\r\n")
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	got := *w.log.events[0].TLS
	sum := sha256.Sum256(cert.Certificate[0])
	want := TLS{Version: "TLS 1.1", Cipher: got.Cipher, Group: got.Group, SNI: "pop.example.org", ALPN: "pop3", Legacy: true,
		Handshake: got.Handshake, Serial: "07", JA4: "print of pop.example.org", Subject: "CN=alice", SHA256: hex.EncodeToString(sum[:])}
	if got != want || got.Handshake <= 0 || got.Cipher == "" || got.Group == "" {
		t.Errorf("facts %+v\nwant  %+v", got, want)
	}
}
