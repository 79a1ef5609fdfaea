package tlsup

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
)

// isHostName reports whether s, in lower case, is a name by RFC 1123 section 2.1.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// leafNames lists what a certificate is valid for.
func leafNames(leaf *x509.Certificate) []string {
	names := append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// describe tells of a certificate in service.
func describe(leaf *x509.Certificate, source string) Certificate {
	return Certificate{Names: leafNames(leaf), Serial: leaf.SerialNumber.Text(16), Issuer: leaf.Issuer.CommonName,
		KeyType: keyType(leaf.PublicKey), Source: source, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
}

// keyType names a kind of key and its size.
func keyType(public any) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	}
	return fmt.Sprintf("%T", public)
}
