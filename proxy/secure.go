package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"postern/proxy/pop3"
)

// Security says how the backend is spoken to.
type Security string

const (
	SecurityPlain Security = "plain" // clear text; so is ""
	SecuritySTLS  Security = "stls"  // upgraded by STLS before anything of the client's passes, or not at all
	SecurityTLS   Security = "tls"   // TLS from the first octet, as on port 995
)

// errInjected tells of octets that came between the backend's +OK to STLS and TLS (CVE-2021-22947): read later, they
// would be taken for its replies inside TLS.
var errInjected = errors.New("it sent more than its reply before TLS was up")

// upgrade puts TLS on the backend's leg by STLS. It is required: whoever sits in between may not talk the two sides
// out of it (CVE-2021-22946).
func (s *session) upgrade() error {
	able, err := s.offersSTLS()
	if err != nil {
		return s.unbacked(err)
	}
	if !able {
		return s.insecure("no_stls", errors.New("it does not offer STLS; backend-tls tls is for servers that have a port such as 995"))
	}
	line, err := s.askLine([]byte("STLS\r\n"), pop3.MaxStatus)
	switch {
	case err != nil:
		return s.unbacked(err)
	case pop3.ParseReply(line).Status != pop3.StatusOK:
		return s.insecure("no_stls", errors.New("it refused STLS: "+pop3.Text(line)))
	case len(s.backend.unread()) > 0 || s.backend.socket.waiting():
		return s.insecure("stls_injection", errInjected)
	}
	s.backend.rest()
	return s.secure()
}

// offersSTLS asks for the backend's capabilities.
func (s *session) offersSTLS() (bool, error) {
	line, err := s.askLine([]byte("CAPA\r\n"), pop3.MaxStatus)
	if err != nil || pop3.ParseReply(line).Status != pop3.StatusOK {
		return false, err
	}
	list, err := s.collect()
	if err != nil {
		return false, err
	}
	return pop3.Announces(list, "STLS"), nil
}

// secure puts TLS on the backend's leg: the handshake and the verification that the configuration asks for.
func (s *session) secure() error {
	b, began := s.backend, time.Now()
	b.conn.SetDeadline(began.Add(s.server.limits.Handshake))
	config := s.server.BackendTLS
	b.below = &arrived{Conn: b.conn, socket: b.socket}
	conn := tls.Client(b.below, config)
	if err := conn.Handshake(); err != nil {
		return s.insecure("tls_failed", inHandshake(err))
	}
	b.below.limit = s.server.limits.Write
	conn.SetDeadline(time.Time{}) // each read and write sets its own
	b.conn = conn
	s.connect.BackendTLS = s.server.backendFacts(conn.ConnectionState(), time.Since(began))
	return nil
}

// insecure ends a session whose backend's leg cannot be what it must be.
func (s *session) insecure(reason string, err error) error {
	s.server.lost(err)
	return &ending{side: SideBackend, reason: reason, farewell: unavailable, err: err}
}

func (s *Server) backendFacts(cs tls.ConnectionState, took time.Duration) *TLS {
	facts := factsOf(&cs, took)
	facts.SNI = s.BackendTLS.ServerName
	if len(cs.PeerCertificates) > 0 {
		facts.Serial = serial(cs.PeerCertificates[0])
	}
	switch {
	case s.BackendVerified != nil:
		facts.Verified = s.BackendVerified(cs)
	case len(cs.VerifiedChains) > 0:
		facts.Verified = "name:" + s.BackendTLS.ServerName
	}
	return facts
}

// arrived is a connection that, while it is looked at, gives only what has come already. TLS above it then
// tells what it holds without waiting for more: a session ticket on the socket is no reply, and a reply that
// nobody asked for may have left the socket long ago.
//
// Its writes have deadlines of their own, for crypto/tls writes by itself too, long after the last command: it
// answers a key update.
type arrived struct {
	net.Conn
	socket  *peeker // at Conn
	looking bool
	limit   time.Duration // of a write; zero in the handshake, which is bounded as a whole
}

func (a *arrived) Write(p []byte) (int, error) {
	if a.limit > 0 {
		a.Conn.SetWriteDeadline(time.Now().Add(a.limit))
	}
	return a.Conn.Write(p)
}

func (a *arrived) Read(p []byte) (int, error) {
	if a.looking && !a.socket.waiting() {
		return 0, os.ErrDeadlineExceeded
	}
	return a.Conn.Read(p)
}

// look reads what has come of its own accord, without waiting.
func (b *backend) look() {
	if b.below == nil {
		return
	}
	b.conn.SetReadDeadline(time.Time{}) // the one of the last read may have passed
	b.below.looking = true
	n, _ := b.conn.Read(b.room(false)) // an error comes again with the next read
	b.below.looking = false
	b.w += n
}
