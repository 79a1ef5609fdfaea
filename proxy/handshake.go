package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"time"

	"postern/proxy/pop3"
)

// handshake puts TLS on the client's leg and returns its facts.
func (s *session) handshake() (*TLS, error) {
	c, began := s.client, time.Now()
	c.socket.SetDeadline(began.Add(s.server.limits.Handshake))
	if s.server.closing.Load() {
		s.wake()
	}
	seen := new(TLS)
	c.socket.seen = seen
	conn := tls.Server(&c.socket, s.server.front)
	err := conn.Handshake()
	c.socket.seen = nil
	switch {
	case err != nil && isTimeout(err) && s.server.closing.Load():
		return nil, errShutdown.silent()
	case err != nil:
		s.server.counts.handshake.Add(1)
		return nil, &ending{side: SideClient, reason: "handshake_failed", err: err}
	}
	c.socket.SetDeadline(time.Time{}) // each read and write sets its own
	c.conn, c.tls, s.inTLS = conn, conn, true
	return s.clientFacts(conn.ConnectionState(), seen, time.Since(began)), nil
}

// deepen has the stack grow to the 16 KiB of a handshake at once, while there is nothing on it. Doubled whenever it is full
// it is copied two or three times, at last with most of a handshake on it, which was 2.6 % of a short session. That the
// frame needs the room is enough: nothing is written there.
//
//go:noinline
func deepen(write bool) {
	if write {
		var room [8 << 10]byte
		fill(room[:])
	}
}

//go:noinline
func fill(room []byte) { clear(room) }

// clientFacts completes what was seen during the handshake, and keeps the names that a client's certificate
// vouches for.
func (s *session) clientFacts(cs tls.ConnectionState, seen *TLS, took time.Duration) *TLS {
	facts := factsOf(&cs, took)
	facts.SNI, facts.JA4, facts.Serial = pop3.Text([]byte(cs.ServerName)), seen.JA4, seen.Serial
	if len(cs.PeerCertificates) == 0 {
		return facts
	}
	cert := cs.PeerCertificates[0]
	sum := sha256.Sum256(cert.Raw)
	facts.Subject, facts.SHA256 = pop3.Text([]byte(cert.Subject.String())), hex.EncodeToString(sum[:])
	if s.server.Rules.MatchExternal {
		s.vouched = append(append([]string{cert.Subject.CommonName}, cert.EmailAddresses...), cert.DNSNames...)
	}
	return facts
}

// factsOf are the facts that both legs have.
func factsOf(cs *tls.ConnectionState, took time.Duration) *TLS {
	facts := &TLS{
		Version: tls.VersionName(cs.Version), Cipher: tls.CipherSuiteName(cs.CipherSuite),
		ALPN: cs.NegotiatedProtocol, Resumed: cs.DidResume, Legacy: cs.Version < tls.VersionTLS12, Handshake: took,
	}
	if cs.CurveID != 0 {
		facts.Group = cs.CurveID.String()
	}
	return facts
}

func serial(cert *x509.Certificate) string {
	return hex.EncodeToString(cert.SerialNumber.Bytes())
}

// observed is a copy of the clients' configuration that tells the session, by way of its socket, what only the
// handshake knows: the client's fingerprint and the certificate that it was shown.
func (s *Server) observed(c *tls.Config) *tls.Config {
	c = c.Clone()
	choose := c.GetConfigForClient
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if k, ok := hello.Conn.(*socket); ok && s.Fingerprint != nil {
			k.seen.JA4 = s.Fingerprint(hello)
		}
		if choose == nil {
			return nil, nil
		}
		chosen, err := choose(hello)
		if chosen != nil {
			chosen = chosen.Clone()
			observeCertificate(chosen)
		}
		return chosen, err
	}
	observeCertificate(c)
	return c
}

func observeCertificate(c *tls.Config) {
	choose := c.GetCertificate
	if choose == nil {
		return
	}
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := choose(hello)
		if k, ok := hello.Conn.(*socket); ok && cert != nil && cert.Leaf != nil {
			k.seen.Serial = serial(cert.Leaf)
		}
		return cert, err
	}
}
