package proxy

import (
	"crypto/tls"
	"time"

	"postern/proxy/pop3"
)

// handshake puts TLS on the client's leg. It runs in a goroutine of its own, for a handshake grows the stack
// several times over and the session is to stay small.
func (s *session) handshake() error {
	c := s.client
	c.socket.SetDeadline(time.Now().Add(s.server.limits.Handshake))
	if s.server.closing.Load() {
		s.wake()
	}
	conn := tls.Server(c.socket, s.server.TLS)
	failed := make(chan error, 1)
	go func() { failed <- conn.Handshake() }()
	err := <-failed
	switch {
	case err != nil && isTimeout(err) && s.server.closing.Load():
		return errShutdown.silent()
	case err != nil:
		s.server.counts.handshake.Add(1)
		return &ending{side: SideClient, reason: "handshake_failed", err: err}
	}
	c.socket.SetDeadline(time.Time{}) // each read and write sets its own
	c.conn, c.tls, s.inTLS = conn, conn, true
	return nil
}

func (s *session) tlsFacts() *TLS {
	cs := s.client.tls.ConnectionState()
	return &TLS{
		Version: tls.VersionName(cs.Version), Cipher: tls.CipherSuiteName(cs.CipherSuite),
		Group: cs.CurveID.String(), SNI: pop3.Text([]byte(cs.ServerName)), ALPN: cs.NegotiatedProtocol,
		Resumed: cs.DidResume,
	}
}
