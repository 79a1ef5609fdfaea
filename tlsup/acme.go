package tlsup

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// maxDomains bounds the certificates of one Source.
const maxDomains = 100

// acmeClient is a provider that orders certificates from an ACME authority and renews them.
type acmeClient struct {
	domains []string
	log     *slog.Logger
	config  *certmagic.Config
	cache   *certmagic.Cache
	cancel  context.CancelFunc
	orders  sync.WaitGroup
}

func openACME(ctx context.Context, c Config) (*acmeClient, error) {
	domains, err := acmeDomains(c.ACMEDomains)
	if err != nil {
		return nil, err
	}
	issuer, err := issuerOf(c)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.DataDir, "acme")
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	p := &acmeClient{domains: domains, log: c.Logger}
	p.configure(issuer, dir)
	ctx, p.cancel = context.WithCancel(ctx)
	for _, name := range domains {
		p.orders.Go(func() { p.order(ctx, name) })
	}
	return p, nil
}

// configure sets certmagic up without its package globals, which any other user would share.
func (p *acmeClient) configure(issuer certmagic.ACMEIssuer, dir string) {
	issuer.Logger = zap.New(&slogCore{handler: p.log.Handler()})
	p.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return p.config, nil },
		Logger:           issuer.Logger,
	})
	p.config = certmagic.New(p.cache, certmagic.Config{
		Storage:   &certmagic.FileStorage{Path: dir},
		KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		// Many mail clients send no server name, or an alias: a certificate for another name tells their
		// user more than a failed handshake.
		DefaultServerName:  p.domains[0],
		FallbackServerName: p.domains[0],
		OnEvent:            p.event,
		Logger:             issuer.Logger,
	})
	p.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(p.config, issuer)}
}

// order sees to it that a certificate for name is in service, however long the authority takes to give
// one, and that it is renewed.
func (p *acmeClient) order(ctx context.Context, name string) {
	if len(p.cache.AllMatchingCertificates(name)) == 0 {
		p.log.Info("certificate wanted", "name", name, "authority", p.config.Issuers[0].IssuerKey())
	}
	// Returns at once if there is one on disk; else it retries for a month.
	if err := p.config.ObtainCertAsync(ctx, name); err != nil {
		if ctx.Err() == nil {
			p.log.Error("certificate given up; mend what is wrong and restart", "name", name, "err", err)
		}
		return
	}
	if err := p.config.ManageAsync(ctx, []string{name}); err != nil {
		p.log.Error("certificate not in service", "name", name, "err", err)
	}
}

// event tells the operator what stands between them and a certificate. It never returns an error: that
// would abort what certmagic is about to do.
func (p *acmeClient) event(_ context.Context, event string, data map[string]any) error {
	if event == "cert_failed" {
		p.log.Warn("no certificate yet; the authority must reach this machine by that name on port 80 or 443",
			"name", data["identifier"], "err", data["error"])
	}
	return nil
}

func (p *acmeClient) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.config.GetCertificate(hello)
}

func (p *acmeClient) inService() []Certificate {
	var out []Certificate
	for _, name := range p.domains {
		for _, cert := range p.cache.AllMatchingCertificates(name) {
			if cert.Leaf != nil {
				out = append(out, Certificate{Names: leafNames(cert.Leaf), NotAfter: cert.Leaf.NotAfter, Source: SourceACME})
			}
		}
	}
	return out
}

func (p *acmeClient) close() {
	p.cancel()
	p.orders.Wait()
	p.cache.Stop()
}

// issuerOf describes the authority and how its challenges are met.
func issuerOf(c Config) (issuer certmagic.ACMEIssuer, err error) {
	issuer = certmagic.ACMEIssuer{
		CA: c.ACMEDirectory, Email: c.ACMEEmail, Agreed: true, ListenHost: c.ACMEHost,
		AltHTTPPort: max(c.ACMEHTTPPort, 0), DisableHTTPChallenge: c.ACMEHTTPPort < 0,
		AltTLSALPNPort: max(c.ACMETLSPort, 0), DisableTLSALPNChallenge: c.ACMETLSPort < 0,
	}
	if c.ACMEHTTPPort < 0 && c.ACMETLSPort < 0 {
		return issuer, fmt.Errorf("%w: both challenges are left out; leave one in", ErrConfig)
	}
	if c.ACMEHTTPPort > 65535 || c.ACMETLSPort > 65535 {
		return issuer, fmt.Errorf("%w: challenge ports %d and %d: the largest port is 65535", ErrConfig, c.ACMEHTTPPort, c.ACMETLSPort)
	}
	if c.ACMEEmail != "" {
		if a, err := mail.ParseAddress(c.ACMEEmail); err != nil || a.Address != c.ACMEEmail {
			return issuer, fmt.Errorf("%w: %q is no mail address; write it as user@host", ErrConfig, c.ACMEEmail)
		}
	}
	if issuer.CA == "" {
		issuer.CA = certmagic.LetsEncryptProductionCA
	}
	if u, err := url.Parse(issuer.CA); err != nil || u.Scheme != "https" || u.Host == "" {
		return issuer, fmt.Errorf("%w: %q is no ACME directory; write its https:// URL", ErrConfig, issuer.CA)
	}
	if c.ACMERoots != "" {
		issuer.TrustedRoots, err = readPool(c.ACMERoots, "file of ACME roots")
	}
	return issuer, err
}

// acmeDomains checks the names and returns them in lower case, each once, in their order.
func acmeDomains(names []string) ([]string, error) {
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

// privateDir makes a directory that nobody else may enter.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("close directory for keys: %w", err)
	}
	return nil
}
