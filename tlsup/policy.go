package tlsup

import (
	"crypto/tls"
	"fmt"
)

// Protocols that a handshake may agree on by ALPN (RFC 7301).
const (
	// ProtocolPOP3 is registered by RFC 7301's IANA registry for POP3.
	ProtocolPOP3 = "pop3"
	// ProtocolACME marks a validation by TLS-ALPN-01 (RFC 8737): the handshake is all there is, and a
	// connection that negotiated it is to be closed without a word.
	ProtocolACME = "acme-tls/1"
)

// Policy says which versions and cipher suites clients may speak.
type Policy string

const (
	PolicyModern       Policy = "modern"       // TLS 1.3
	PolicyIntermediate Policy = "intermediate" // TLS 1.2 and 1.3, forward secrecy and authenticated encryption only (RFC 9325 section 4.2)
	PolicyLegacy       Policy = "legacy"       // adds TLS 1.0 and 1.1, and CBC and RSA key exchange, for devices that nobody can update
)

func (p Policy) check() error {
	switch p {
	case "", PolicyModern, PolicyIntermediate, PolicyLegacy:
		return nil
	}
	return fmt.Errorf("%w: policy %.40q; choose modern, intermediate or legacy", ErrConfig, string(p))
}

func (p Policy) minVersion() uint16 {
	switch p {
	case PolicyModern:
		return tls.VersionTLS13
	case PolicyLegacy:
		return tls.VersionTLS10
	}
	return tls.VersionTLS12
}

// suites are those of TLS 1.2 and older. TLS 1.3's are all good and not configurable.
func (p Policy) suites() []uint16 {
	if p == PolicyLegacy {
		return append(intermediateSuites(), legacySuites()...)
	}
	return intermediateSuites()
}

// intermediateSuites have ephemeral keys and authenticated encryption.
func intermediateSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// legacySuites are what old devices and old servers may have and nothing better: no RC4 and no 3DES.
func legacySuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
}

// curves are for the key exchange of every policy: hybrid post-quantum first, then what any client of the last ten
// years has.
func curves() []tls.CurveID {
	return []tls.CurveID{tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384}
}

// TLSConfig returns a configuration for the server side of POP3 over TLS, by the policy. A client that offers ALPN
// must offer pop3, so that nobody can pass this server off as one of another protocol; one that offers none, or
// names no server, is welcome. Each call returns a new one, with session tickets of its own, whose keys crypto/tls
// makes and replaces daily.
func (s *Source) TLSConfig() *tls.Config {
	c := &tls.Config{
		GetCertificate: s.certificate,
		NextProtos:     []string{ProtocolPOP3},
		MinVersion:     s.config.Policy.minVersion(),
		CipherSuites:   s.config.Policy.suites(),
		// Which of them is crypto/tls's to choose: one that the client has already sent a share for, if it can.
		CurvePreferences: curves(),
		// Mail is bulk: small first records would only cost more of them.
		DynamicRecordSizingDisabled: true,
	}
	if s.acme != nil {
		c.NextProtos = append(c.NextProtos, ProtocolACME)
	}
	if s.clients != nil {
		s.clients.demand(c)
	}
	return c
}
