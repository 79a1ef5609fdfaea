package pop3

import (
	"bytes"
	"slices"
	"strings"
)

// Offer says what the proxy's capability list must tell the truth about.
type Offer struct {
	TLS  bool     // TLS is up on the client's leg
	STLS bool     // the listener takes STLS
	Own  []string // mechanisms the proxy answers itself, whatever the backend has

	NoExternal bool // EXTERNAL is not to be had
}

// RewriteCapabilities appends to dst the body of a CAPA reply (RFC 2449) as the client should see it: what TLS
// termination changes is changed, line by line, and every other line is kept octet for octet. body is the
// backend's, without its terminator, dot-stuffing kept.
func (o Offer) RewriteCapabilities(dst, body []byte) []byte {
	listed := false
	for line := range bytes.Lines(body) {
		listed = listed || capability(line) == "SASL"
		dst = o.appendCapability(dst, line)
	}
	if o.TLS && !listed && len(o.Own) > 0 {
		dst = append(dst, "SASL "+strings.Join(o.Own, " ")+"\r\n"...)
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

// Announces reports whether a CAPA reply's body has the capability called name, in upper case.
func Announces(body []byte, name string) bool {
	for line := range bytes.Lines(body) {
		if capability(line) == name {
			return true
		}
	}
	return false
}

// capability returns the name of a CAPA line, in upper case.
func capability(line []byte) string {
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return ""
	}
	return strings.ToUpper(string(fields[0]))
}

func (o Offer) appendCapability(dst, line []byte) []byte {
	switch capability(line) {
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
		return o.appendMechanisms(dst, line)
	}
	return append(dst, line...)
}

// appendMechanisms appends a SASL line with the mechanisms that are offered: octet for octet when these are the
// backend's, nothing when there are none.
func (o Offer) appendMechanisms(dst, line []byte) []byte {
	fields := strings.Fields(string(line))
	kept := fields[:1:1]
	for _, m := range fields[1:] {
		if o.relays(m) {
			kept = append(kept, m)
		}
	}
	same := len(kept) == len(fields)
	for _, m := range o.Own {
		if !containsFold(kept[1:], m) {
			kept, same = append(kept, m), false
		}
	}
	switch {
	case same:
		return append(dst, line...)
	case len(kept) == 1:
		return dst
	}
	dst = append(dst, strings.Join(kept, " ")...)
	return append(dst, "\r\n"...)
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(t string) bool { return strings.EqualFold(s, t) })
}

// RewriteMechanisms appends to dst the body of a bare AUTH reply: without the mechanisms that cannot survive
// termination, and with the proxy's own.
func (o Offer) RewriteMechanisms(dst, body []byte) []byte {
	var listed []string
	for line := range bytes.Lines(body) {
		name := string(bytes.TrimSpace(line))
		if o.relays(name) {
			dst = append(dst, line...)
			listed = append(listed, name)
		}
	}
	for _, m := range o.Own {
		if !containsFold(listed, m) {
			dst = append(dst, m+"\r\n"...)
		}
	}
	return dst
}

// Mechanisms appends the body of the proxy's own bare AUTH reply.
func (o Offer) Mechanisms(dst []byte) []byte { return o.RewriteMechanisms(dst, nil) }

func (o Offer) relays(mechanism string) bool {
	return Relayable(mechanism) && !(o.NoExternal && strings.EqualFold(mechanism, "EXTERNAL"))
}

// Relayable reports whether a SASL mechanism works through a proxy that ends TLS. Channel binding (RFC 5802
// section 6) ties the login to the TLS leg it cannot see, and GSSAPI and KERBEROS may put a security layer
// under everything that follows.
func Relayable(mechanism string) bool {
	m := strings.ToUpper(mechanism)
	return !strings.HasSuffix(m, "-PLUS") && !strings.HasPrefix(m, "KERBEROS") && m != "GSSAPI" &&
		m != "GSS-SPNEGO"
}
