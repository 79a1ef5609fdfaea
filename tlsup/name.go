package tlsup

import (
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
)

// maxDomains bounds the names of one Source.
const maxDomains = 100

// acmeDomains checks the names and returns them in lower case, each once, in their order. A public
// authority takes only names of the public DNS.
func acmeDomains(names []string, public bool) ([]string, error) {
	if len(names) > maxDomains {
		return nil, fmt.Errorf("%w: %d domains; at most %d", ErrConfig, len(names), maxDomains)
	}
	var out []string
	for _, name := range names {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		switch {
		case strings.HasPrefix(name, "*."):
			return nil, fmt.Errorf("%w: domain %s: wildcards need DNS-01, which is not offered; list the names", ErrConfig, name)
		case net.ParseIP(name) != nil:
			return nil, fmt.Errorf("%w: domain %s is an address; give a host name", ErrConfig, name)
		case !isHostName(name):
			return nil, fmt.Errorf("%w: domain %q is no host name; write letters, digits, dots and hyphens, "+
				"other scripts in their xn-- form", ErrConfig, name)
		case public && !certmagic.SubjectQualifiesForPublicCert(name):
			return nil, fmt.Errorf("%w: domain %s is private, no public authority vouches for it; "+
				"name a private ACME directory, or use the local authority", ErrConfig, name)
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

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
