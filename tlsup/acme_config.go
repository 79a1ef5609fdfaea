package tlsup

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// ACME says what certificates an authority such as Let's Encrypt is asked for, and how it validates them (RFC 8555). The
// zero ACME asks for none.
type ACME struct {
	// Domains are host names, wildcards (*.example.org, which need DNS) and IP addresses, one certificate each; together
	// with OnDemand at most 100.
	Domains []string
	// OnDemand are host names that are ordered when a client first asks for them, and no others are.
	OnDemand []string
	// Email is where the authority writes to about trouble; "" gives it no address.
	Email string
	// Directory is the authority's directory URL; "" is Let's Encrypt.
	Directory string
	// Roots is a PEM file of what vouches for the directory's own TLS; "" uses the system's roots.
	Roots string
	// EABKeyID and EABKeyFile name an account that the authority has given out beforehand; the file holds its key in
	// base64url. Both empty: the account is simply registered.
	EABKeyID, EABKeyFile string
	// Profile is the authority's name for a kind of certificate, as "shortlived"; "" is its default, and Let's Encrypt's
	// "shortlived" for addresses, which it certifies in no other.
	Profile string
	// RSA asks for an RSA-2048 certificate beside each ECDSA one, for clients that do not know ECDSA.
	RSA bool
	// HTTPPort and TLSPort are where HTTP-01 and TLS-ALPN-01 are answered; 0 is 80 and 443, and a negative port leaves
	// that challenge out. The authority always asks on 80 and 443: another port has to be forwarded to.
	HTTPPort, TLSPort int
	// Host is the local address those ports are opened on; "" is all.
	Host string
	// DNS is how DNS-01 is met. Where it is set, host names are validated by nothing else.
	DNS DNS

	pace acmePace // the default but in tests
}

// maxDomains bounds the names that certificates are ordered for.
const maxDomains = 100

// acmeIssuers are the two ways in which an authority is shown who asks.
type acmeIssuers struct {
	byPort certmagic.ACMEIssuer  // HTTP-01 and TLS-ALPN-01
	byDNS  *certmagic.ACMEIssuer // DNS-01; nil if it is not set up
}

// of chooses: DNS-01 where it is set up, but addresses have no place in the DNS (RFC 8738 section 7).
func (i acmeIssuers) of(name string) certmagic.ACMEIssuer {
	if _, err := netip.ParseAddr(name); err == nil {
		issuer := i.byPort
		// Let's Encrypt certifies addresses for six days only, and wants to be asked for that by name.
		if issuer.Profile == "" && public(issuer.CA) {
			issuer.Profile = "shortlived"
		}
		return issuer
	}
	if i.byDNS != nil {
		return *i.byDNS
	}
	return i.byPort
}

// newACMEIssuers describes the authority and how its challenges are met.
func newACMEIssuers(c ACME) (out acmeIssuers, err error) {
	solver, err := newDNSSolver(c.DNS)
	if err != nil {
		return out, err
	}
	if out.byPort, err = newACMEIssuer(c); err != nil {
		return out, err
	}
	if solver != nil {
		byDNS := out.byPort
		byDNS.DNS01Solver = solver
		out.byDNS = &byDNS
	}
	return out, nil
}

func newACMEIssuer(c ACME) (issuer certmagic.ACMEIssuer, err error) {
	issuer = certmagic.ACMEIssuer{
		CA: c.Directory, Email: c.Email, Profile: c.Profile, Agreed: true, ListenHost: c.Host,
		AltHTTPPort: max(c.HTTPPort, 0), DisableHTTPChallenge: c.HTTPPort < 0,
		AltTLSALPNPort: max(c.TLSPort, 0), DisableTLSALPNChallenge: c.TLSPort < 0,
	}
	if c.HTTPPort > 65535 || c.TLSPort > 65535 {
		return issuer, fmt.Errorf("%w: challenge ports %d and %d: the largest port is 65535", ErrConfig, c.HTTPPort, c.TLSPort)
	}
	if c.Email != "" {
		if a, err := mail.ParseAddress(c.Email); err != nil || a.Address != c.Email {
			return issuer, fmt.Errorf("%w: %q is no mail address; write it as user@host", ErrConfig, c.Email)
		}
	}
	issuer.NewAccountFunc = contact(c.Email)
	if issuer.CA == "" {
		issuer.CA = certmagic.LetsEncryptProductionCA
	}
	if u, err := url.Parse(issuer.CA); err != nil || u.Scheme != "https" || u.Host == "" {
		return issuer, fmt.Errorf("%w: %q is no ACME directory; write its https:// URL", ErrConfig, issuer.CA)
	}
	if c.Roots != "" {
		if issuer.TrustedRoots, err = readPool(c.Roots, "file of ACME roots"); err != nil {
			return issuer, err
		}
	}
	issuer.ExternalAccount, err = externalAccount(c)
	return issuer, err
}

// contact gives a new account the one address that was configured, or none. Left to itself, certmagic looks for one among
// the accounts that it has; while another order is just writing the first, it takes that one's folder for an address.
func contact(email string) func(context.Context, *certmagic.ACMEIssuer, acme.Account) (acme.Account, error) {
	return func(_ context.Context, _ *certmagic.ACMEIssuer, account acme.Account) (acme.Account, error) {
		account.Contact = nil
		if email != "" {
			account.Contact = []string{"mailto:" + email}
		}
		return account, nil
	}
}

// public reports whether a directory is Let's Encrypt's.
func public(directory string) bool {
	return directory == "" || strings.Contains(directory, ".api.letsencrypt.org/")
}

// externalAccount reads the key of an account that the authority has given out beforehand (RFC 8555 section 7.3.4).
func externalAccount(c ACME) (*acme.EAB, error) {
	switch {
	case c.EABKeyID == "" && c.EABKeyFile == "":
		return nil, nil
	case c.EABKeyID == "":
		return nil, fmt.Errorf("%w: external account key file %s without the key's id; give the id that the authority gave you", ErrConfig, c.EABKeyFile)
	case c.EABKeyFile == "":
		return nil, fmt.Errorf("%w: external account %s without its key; name the file that holds it", ErrConfig, c.EABKeyID)
	}
	key, err := readSecret(c.EABKeyFile, "external account key file")
	if err != nil {
		return nil, err
	}
	// Authorities hand it out in either alphabet, with and without padding.
	key = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(key), "=")
	if b, err := base64.RawURLEncoding.DecodeString(key); err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%w: external account key file %s; write the key into it in base64url, and nothing else", ErrConfig, c.EABKeyFile)
	}
	return &acme.EAB{KeyID: c.EABKeyID, MACKey: key}, nil
}

// acmeNames checks the names and returns them in their one form, each once, in their order.
func acmeNames(c ACME) (domains, onDemand []string, err error) {
	if n := len(c.Domains) + len(c.OnDemand); n > maxDomains {
		return nil, nil, fmt.Errorf("%w: %d domains; at most %d", ErrConfig, n, maxDomains)
	}
	for _, name := range c.Domains {
		if name, err = acmeName(name, c); err != nil {
			return nil, nil, err
		}
		if !slices.Contains(domains, name) {
			domains = append(domains, name)
		}
	}
	for _, name := range c.OnDemand {
		if name, err = acmeName(name, c); err != nil {
			return nil, nil, err
		}
		if _, err := netip.ParseAddr(name); err == nil || !isHostName(name) {
			return nil, nil, fmt.Errorf("%w: on-demand name %s; clients ask for host names only, name it as a domain", ErrConfig, name)
		}
		if !slices.Contains(slices.Concat(domains, onDemand), name) {
			onDemand = append(onDemand, name)
		}
	}
	return domains, onDemand, nil
}

// acmeName checks one name: a host name, a wildcard where DNS-01 is set up, an address where it is not alone. A public
// authority takes only names of the public DNS.
func acmeName(name string, c ACME) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	withDNS, withPort := c.DNS.Server != "" || c.DNS.Hook != "", c.HTTPPort >= 0 || c.TLSPort >= 0
	addr, err := netip.ParseAddr(name)
	isAddr := err == nil && addr.Zone() == ""
	base, wildcard := strings.CutPrefix(name, "*.")
	switch {
	case isAddr && !withPort:
		return "", fmt.Errorf("%w: address %s cannot be validated by DNS-01; leave HTTP-01 or TLS-ALPN-01 in", ErrConfig, name)
	case isAddr:
		name = addr.Unmap().String()
	case !isHostName(base):
		return "", fmt.Errorf("%w: domain %q is no host name; write letters, digits, dots and hyphens, other scripts in their xn-- form",
			ErrConfig, name)
	case wildcard && !withDNS:
		return "", fmt.Errorf("%w: domain %s: a wildcard needs DNS-01; set up acme-dns-server or acme-dns-hook, or list the names", ErrConfig, name)
	case !withDNS && !withPort:
		return "", fmt.Errorf("%w: domain %s: all challenges are left out; leave one in", ErrConfig, name)
	}
	if public(c.Directory) && !certmagic.SubjectQualifiesForPublicCert(name) {
		return "", fmt.Errorf("%w: domain %s is private, no public authority vouches for it; "+
			"name a private ACME directory, or use the local authority", ErrConfig, name)
	}
	return name, nil
}
