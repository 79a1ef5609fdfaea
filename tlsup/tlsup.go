// Package tlsup puts TLS in front of listeners that speak POP3: it finds certificates, keeps them
// fresh, and says which protocol versions and cipher suites are spoken.
//
// Certificates come from one of three places: an ACME authority such as Let's Encrypt, a pair of PEM
// files, or a local authority for trials that keeps its root in the data directory. New opens the place
// and returns a Source; Source.TLSConfig is what a listener's handshake needs. All three renew or reload
// while connections are served; no listener is ever restarted for a certificate.
//
// The package neither listens for mail clients nor does handshakes; the ports that ACME validates
// are opened only while a certificate is being ordered. It logs, but never key material.
package tlsup

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// The kinds of Source, in Certificate.Source.
const (
	SourceACME  = "acme"
	SourceFile  = "file"
	SourceLocal = "local"
)

// ErrConfig is wrapped by the errors of New that a change of the configuration mends.
var ErrConfig = errors.New("certificate configuration")

// ErrUnknownName is wrapped by the errors of renewals of names that there is no certificate for.
var ErrUnknownName = errors.New("no certificate of that name")

// Config says where certificates come from. Exactly one of CertFile, ACMEDomains and Local is to be set.
type Config struct {
	// CertFile and KeyFile are PEM files: the chain, leaf first, and its unencrypted key. Both may name
	// the same file. They are read again when they change; a bad new pair leaves the old in service.
	CertFile, KeyFile string

	// ACMEDomains are the host names to order certificates for, one certificate each, at most 100. The
	// first one's is handed to clients that name no server, or one that is not listed.
	ACMEDomains []string
	// ACMEEmail is where the authority writes to about trouble; "" gives it no address.
	ACMEEmail string
	// ACMEDirectory is the authority's directory URL; "" is Let's Encrypt.
	ACMEDirectory string
	// ACMERoots is a PEM file of the roots that vouch for the directory's own TLS; "" uses the system's.
	ACMERoots string
	// ACMEHTTPPort and ACMETLSPort are where HTTP-01 and TLS-ALPN-01 are answered; 0 is 80 and 443, and
	// a negative port leaves that challenge out. The authority always asks on 80 and 443: where
	// another port is given here, it must be forwarded to.
	ACMEHTTPPort, ACMETLSPort int
	// ACMEHost is the local address those ports are opened on; "" is all.
	ACMEHost string

	// Local makes an authority of our own, for trials; its root is in Source.RootFile.
	Local bool
	// LocalNames are host names and addresses its certificate is valid for besides localhost,
	// 127.0.0.1, ::1 and the machine's host name.
	LocalNames []string

	// DataDir keeps what must survive a restart: acme/ or local-ca/. Files need none.
	DataDir string
	// Logger is told of renewals, reloads and trouble; nil logs nothing.
	Logger *slog.Logger
}

// Certificate tells of a certificate in service, or of one that is awaited.
type Certificate struct {
	Names               []string // DNS names and IP addresses it is valid for
	Serial, Issuer      string   // serial number in hexadecimal; the issuer's common name
	KeyType             string   // as "ECDSA P-256", "RSA 2048"
	Source              string   // SourceACME, SourceFile or SourceLocal
	NotBefore, NotAfter time.Time
	NextRenewal         time.Time // zero: not known, or nothing that is done here
	Awaited             bool      // ordered, but not there yet
	Err                 string    // of the last order, renewal or reload; "" when it went well
	ErrAt               time.Time // when that was
	File                string    // of a pair of files: the certificate's path
}

// provider is a place certificates come from.
type provider interface {
	// certificate answers a handshake.
	certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// inService lists the leaves that certificate may answer with.
	inService() []Certificate
	// close ends what the provider runs in the background and waits for it.
	close()
}

// Source hands out certificates. It is safe for concurrent use.
type Source struct {
	provider provider
	protos   []string
	rootFile string
	closed   sync.Once
}

// New opens the one place that c names. Of an ACME authority it only checks what can be checked without
// it: certificates that are missing are ordered in the background, with retries, until ctx is done or
// Close is called. The errors name what is wrong and how to mend it.
func New(ctx context.Context, c Config) (*Source, error) {
	if err := c.oneKind(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.ACMEDomains) > 0:
		a, err := openACME(ctx, ACME{Domains: c.ACMEDomains, Email: c.ACMEEmail, Directory: c.ACMEDirectory, Roots: c.ACMERoots,
			HTTPPort: c.ACMEHTTPPort, TLSPort: c.ACMETLSPort, Host: c.ACMEHost}, c.DataDir, c.Logger, nil)
		if err != nil {
			return nil, fmt.Errorf("certificates by ACME: %w", err)
		}
		return &Source{provider: acmeProvider{a}, protos: []string{ProtocolPOP3, ProtocolACME}}, nil
	case c.Local:
		p, err := openLocal(c)
		if err != nil {
			return nil, fmt.Errorf("local authority: %w", err)
		}
		return &Source{provider: p, protos: []string{ProtocolPOP3}, rootFile: p.exported}, nil
	default:
		p, err := openFiles(c)
		if err != nil {
			return nil, fmt.Errorf("certificate from files: %w", err)
		}
		return &Source{provider: p, protos: []string{ProtocolPOP3}}, nil
	}
}

// oneKind refuses a Config that names no place, half a place, or several.
func (c *Config) oneKind() error {
	files, acme := c.CertFile != "" || c.KeyFile != "", len(c.ACMEDomains) > 0
	var kinds int
	for _, set := range []bool{files, acme, c.Local} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		return fmt.Errorf("%w: none given; name a certificate file and its key, ACME domains, or the local authority", ErrConfig)
	case kinds > 1:
		return fmt.Errorf("%w: files, ACME domains and the local authority exclude each other; keep one", ErrConfig)
	case files && c.KeyFile == "":
		return fmt.Errorf("%w: certificate file %s has no key file; name it too, the same file if it holds both", ErrConfig, c.CertFile)
	case files && c.CertFile == "":
		return fmt.Errorf("%w: key file %s has no certificate file; name it too", ErrConfig, c.KeyFile)
	case !files && c.DataDir == "":
		return fmt.Errorf("%w: no data directory to keep keys in; name one", ErrConfig)
	}
	return nil
}

// RootFile is the PEM file with the local authority's root, for clients to trust; "" for other sources.
func (s *Source) RootFile() string { return s.rootFile }

// Expiry lists the certificates in service now. ACME domains that still wait for theirs are not in it.
func (s *Source) Expiry() []Certificate { return s.provider.inService() }

// Close ends what runs in the background and waits for it. Configurations that were handed out keep
// answering with the certificates at hand.
func (s *Source) Close() error {
	s.closed.Do(s.provider.close)
	return nil
}

// acmeProvider serves the first domain's certificate to whoever asks for none of the others.
type acmeProvider struct{ client *acmeClient }

func (p acmeProvider) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Contains(hello.SupportedProtos, ProtocolACME) {
		return p.client.challenge(hello)
	}
	for _, name := range []string{strings.ToLower(hello.ServerName), p.client.names[0]} {
		if cert := p.client.certificate(hello, name); cert != nil {
			return cert, nil
		}
	}
	return nil, fmt.Errorf("no certificate yet for %.253q", hello.ServerName)
}

func (p acmeProvider) inService() []Certificate {
	return slices.DeleteFunc(p.client.certificates(), func(c Certificate) bool { return c.Awaited })
}

func (p acmeProvider) close() { p.client.close() }
