package tlsup

import "crypto/tls"

// Protocols that a handshake may agree on by ALPN (RFC 7301).
const (
	// ProtocolPOP3 is registered by RFC 7301's IANA registry for POP3.
	ProtocolPOP3 = "pop3"
	// ProtocolACME marks a validation by TLS-ALPN-01 (RFC 8737): the handshake is all there is, and a
	// connection that negotiated it is to be closed without a word.
	ProtocolACME = "acme-tls/1"
)

// intermediateSuites are what TLS 1.2 may use: ephemeral keys and authenticated encryption only. TLS
// 1.3 suites are all of that kind and not configurable.
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

// TLSConfig returns a configuration for the server side of POP3 over TLS: versions 1.2 and 1.3, forward
// secrecy and authenticated encryption only (RFC 9325 section 4.2). A client that offers ALPN must offer
// pop3, so that nobody can pass this server off as one of another protocol; one that offers none, or
// names no server, is welcome. Each call returns a new one, with session tickets of its own.
func (s *Source) TLSConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: s.provider.certificate,
		NextProtos:     append([]string(nil), s.protos...),
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   intermediateSuites(),
		// Mail is bulk: small first records would only cost more of them.
		DynamicRecordSizingDisabled: true,
	}
}
