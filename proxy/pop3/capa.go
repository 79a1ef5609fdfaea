package pop3

import (
	"bytes"
	"strings"
)

// Offer says what the proxy's capability list must tell the truth about.
type Offer struct {
	TLS  bool // TLS is up on the client's leg
	STLS bool // the listener takes STLS
}

// RewriteCapabilities appends to dst the body of a CAPA reply (RFC 2449) as the client should see it: what TLS
// termination changes is changed, line by line, and every other line is kept octet for octet. body is the
// backend's, without its terminator, dot-stuffing kept.
func (o Offer) RewriteCapabilities(dst, body []byte) []byte {
	for line := range bytes.Lines(body) {
		dst = o.appendCapability(dst, line)
	}
	if o.STLS && !o.TLS {
		dst = append(dst, "STLS\r\n"...)
	}
	return dst
}

// Capabilities appends the body of the proxy's own CAPA reply, for a backend that has none: offering STLS
// obliges the proxy to answer CAPA (RFC 2595 section 4).
func (o Offer) Capabilities(dst []byte) []byte {
	if o.TLS {
		dst = append(dst, "USER\r\n"...)
	}
	return o.RewriteCapabilities(dst, nil)
}

func (o Offer) appendCapability(dst, line []byte) []byte {
	fields := strings.Fields(string(line))
	if len(fields) == 0 {
		return append(dst, line...)
	}
	switch strings.ToUpper(fields[0]) {
	case "STLS", "XCLIENT", "XOIP":
		return dst
	case "USER", "UTF8", "LANG":
		if !o.TLS {
			return dst // refused until TLS is up
		}
	case "SASL":
		if !o.TLS {
			return dst
		}
		return appendMechanisms(dst, line, fields)
	}
	return append(dst, line...)
}

// appendMechanisms appends a SASL line without the mechanisms that cannot survive termination, octet for
// octet where there is none.
func appendMechanisms(dst, line []byte, fields []string) []byte {
	kept := fields[:1:1]
	for _, m := range fields[1:] {
		if Relayable(m) {
			kept = append(kept, m)
		}
	}
	switch len(kept) {
	case len(fields):
		return append(dst, line...)
	case 1:
		return dst
	}
	dst = append(dst, strings.Join(kept, " ")...)
	return append(dst, "\r\n"...)
}

// RewriteMechanisms appends to dst the body of a bare AUTH reply without the mechanisms that cannot survive
// termination.
func RewriteMechanisms(dst, body []byte) []byte {
	for line := range bytes.Lines(body) {
		if Relayable(string(bytes.TrimSpace(line))) {
			dst = append(dst, line...)
		}
	}
	return dst
}

// Relayable reports whether a SASL mechanism works through a proxy that ends TLS. Channel binding (RFC 5802
// section 6) ties the login to the TLS leg it cannot see, and GSSAPI and KERBEROS may put a security layer
// under everything that follows.
func Relayable(mechanism string) bool {
	m := strings.ToUpper(mechanism)
	return !strings.HasSuffix(m, "-PLUS") && !strings.HasPrefix(m, "KERBEROS") && m != "GSSAPI" &&
		m != "GSS-SPNEGO"
}
