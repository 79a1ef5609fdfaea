package tlsup

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"slices"
	"strconv"
)

// JA4 is the fingerprint of a TLS client (github.com/FoxIO-LLC/ja4, version of 2023): which program it is, whoever uses
// it. It is 36 octets long, and the same for the extensions in any order.
func JA4(hello *tls.ClientHelloInfo) string {
	suites, extensions := withoutGREASE(hello.CipherSuites), withoutGREASE(hello.Extensions)
	out := append(make([]byte, 0, 36), 't')
	out = append(out, ja4Version(hello)...)
	if slices.Contains(hello.Extensions, 0) { // server_name
		out = append(out, 'd')
	} else {
		out = append(out, 'i')
	}
	out = appendCount(out, len(suites))
	out = appendCount(out, len(extensions))
	out = append(out, ja4ALPN(hello.SupportedProtos)...)
	slices.Sort(suites)
	out = append(append(out, '_'), shortHash(appendHex(nil, suites))...)
	extensions = slices.DeleteFunc(extensions, func(e uint16) bool { return e == 0 || e == 16 }) // and ALPN
	slices.Sort(extensions)
	rest := appendHex(nil, extensions)
	if schemes := withoutGREASE(hello.SignatureSchemes); len(schemes) > 0 {
		rest = appendHex(append(rest, '_'), schemes)
	}
	return string(append(append(out, '_'), shortHash(rest)...))
}

func ja4Version(hello *tls.ClientHelloInfo) string {
	versions := withoutGREASE(hello.SupportedVersions)
	if len(versions) == 0 {
		return "00"
	}
	switch slices.Max(versions) {
	case tls.VersionTLS13:
		return "13"
	case tls.VersionTLS12:
		return "12"
	case tls.VersionTLS11:
		return "11"
	case tls.VersionTLS10:
		return "10"
	}
	return "00"
}

// ja4ALPN is the first and last character of the first protocol, or of its hex form when they are not letters or
// digits.
func ja4ALPN(protos []string) string {
	if len(protos) == 0 || protos[0] == "" {
		return "00"
	}
	p := protos[0]
	first, last := p[0], p[len(p)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		const digits = "0123456789abcdef"
		first, last = digits[first>>4], digits[last&15]
	}
	return string([]byte{first, last})
}

func alphanumeric(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }

// withoutGREASE leaves out the values that clients make up so that servers learn to ignore them (RFC 8701).
func withoutGREASE[T ~uint16](in []T) []uint16 {
	out := make([]uint16, 0, len(in))
	for _, v := range in {
		if v := uint16(v); v&0x0f0f != 0x0a0a || v>>8 != v&0xff {
			out = append(out, v)
		}
	}
	return out
}

// appendCount appends two digits, of 99 at most.
func appendCount(out []byte, n int) []byte {
	n = min(n, 99)
	return append(out, '0'+byte(n/10), '0'+byte(n%10))
}

// appendHex appends the values as four hex digits each, with commas between.
func appendHex(out []byte, values []uint16) []byte {
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		for _, pad := range []uint16{0x1000, 0x100, 0x10} {
			if v < pad {
				out = append(out, '0')
			}
		}
		out = strconv.AppendUint(out, uint64(v), 16)
	}
	return out
}

// shortHash is the beginning of the SHA-256 of text, zeros when there is none.
func shortHash(text []byte) string {
	if len(text) == 0 {
		return "000000000000"
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
