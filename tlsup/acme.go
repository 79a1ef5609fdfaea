package tlsup

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/mail"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// retryOrder is the pause after an order that certmagic did not retry by itself.
const retryOrder = 10 * time.Minute

// acmeClient is a provider that orders certificates from an ACME authority and renews them.
type acmeClient struct {
	domains   []string
	directory string
	log       *slog.Logger
	config    *certmagic.Config
	cache     *certmagic.Cache
	cancel    context.CancelFunc // ends the orders
	orders    sync.WaitGroup
}

func openACME(ctx context.Context, c Config) (*acmeClient, error) {
	domains, err := acmeDomains(c.ACMEDomains, c.ACMEDirectory == "")
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
	p := &acmeClient{domains: domains, directory: issuer.CA, log: c.Logger}
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
	for ctx.Err() == nil {
		// It returns at once if there is one on disk. Else it retries, ever more slowly, for a month;
		// sooner it ends only if what it needs on this machine is not there.
		err := p.config.ObtainCertAsync(ctx, name)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			p.log.Error("certificate order given up for now", "name", name, "err", err, "retry_in", retryOrder)
		}
		pause(ctx, retryOrder)
	}
	if ctx.Err() != nil {
		return
	}
	if err := p.config.ManageAsync(ctx, []string{name}); err != nil {
		p.log.Error("certificate not in service", "name", name, "err", err)
	}
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// event tells the operator how an order goes. It never returns an error: that would abort what certmagic
// is about to do.
func (p *acmeClient) event(ctx context.Context, event string, data map[string]any) error {
	switch {
	case event == "cert_obtaining":
		p.log.Info("certificate ordered", "name", data["identifier"], "authority", p.directory)
	case event == "cert_obtained":
		p.log.Info("certificate obtained", "name", data["identifier"])
	case event == "cert_failed" && ctx.Err() == nil:
		p.log.Warn("certificate not obtained, will be ordered again; see that this machine reaches the "+
			"authority, and the authority this machine, by that name, on port 80 or 443",
			"name", data["identifier"], "renewal", data["renewal"], "authority", p.directory, "err", data["error"])
	}
	return nil
}

func (p *acmeClient) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	// certmagic logs an error for each validation nobody ordered; anybody could fill the log with them.
	if slices.Contains(hello.SupportedProtos, ProtocolACME) {
		if _, ordered := certmagic.GetACMEChallenge(strings.ToLower(hello.ServerName)); !ordered {
			return nil, fmt.Errorf("no validation of %.253q is under way", hello.ServerName)
		}
	}
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

// close waits for first orders. A renewal under way ends soon after: certmagic keeps its goroutines.
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
