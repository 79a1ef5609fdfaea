package tlsup

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// keeper has one certificate, of one name and one kind of key, in certmagic's care. Each has a cache of its own: the
// maintenance of a cache works off its certificates one by one, and one that cannot be had would hold up the others.
type keeper struct {
	order   *order
	kind    certmagic.KeyType
	config  *certmagic.Config
	cache   *certmagic.Cache
	issuer  *certmagic.ACMEIssuer
	byPort  bool              // validated by HTTP-01 or TLS-ALPN-01
	storage certmagic.Storage // of config

	mu      sync.Mutex
	failure string // of the last attempt, "" if it went well
	failed  time.Time
}

// newKeeper sets certmagic up without its package globals, which any other user would share.
func newKeeper(o *order, kind certmagic.KeyType, issuer certmagic.ACMEIssuer, storage certmagic.Storage) *keeper {
	k := &keeper{order: o, kind: kind, storage: storage, byPort: issuer.DNS01Solver == nil}
	issuer.Logger = o.client.zap
	k.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return k.config, nil },
		RenewCheckInterval: o.client.pace.check,
		OCSPCheckInterval:  o.client.pace.ocsp,
		Logger:             o.client.zap,
	})
	k.config = certmagic.New(k.cache, certmagic.Config{
		Storage:   storage,
		KeySource: certmagic.StandardKeyGenerator{KeyType: kind},
		// Without a proxy function certmagic asks responders without a deadline.
		OCSP:    certmagic.OCSPConfig{HTTPProxy: http.ProxyFromEnvironment},
		OnEvent: k.event,
		Logger:  o.client.zap,
	})
	k.issuer = certmagic.NewACMEIssuer(k.config, issuer)
	k.config.Issuers = []certmagic.Issuer{k.issuer}
	return k
}

// attempt is one go at a certificate.
type attempt struct{ end context.CancelCauseFunc }

// attemptKey is where an attempt is found in its context.
type attemptKey struct{}

// attemptOf is whose context ctx is, nil if certmagic began by itself.
func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// attempt has certmagic do something once. By itself it would go on for a month, and hold its lock on the name while it
// waits, so that nobody could ask for a renewal; the first failure therefore ends its context.
func (k *keeper) attempt(ctx context.Context, do func(context.Context, string) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	a := &attempt{end}
	defer k.order.client.ports.release(k, a)
	err := do(context.WithValue(ctx, attemptKey{}, a), k.order.name)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause // told already, by event, or the end of everything
	}
	if err != nil {
		k.fail(err, false)
	}
	return err
}

// obtain sees to it that there is a certificate, and that it is in service and not due.
func (k *keeper) obtain(ctx context.Context) error {
	if err := k.attempt(ctx, k.config.ObtainCertAsync); err != nil {
		return err
	}
	if err := k.load(ctx); err != nil {
		return err
	}
	// certmagic would see it in ten minutes; one that expired while Postern was down cannot wait.
	if cert, ok := k.current(); ok && cert.NeedsRenewal(k.config) {
		k.attempt(ctx, func(ctx context.Context, name string) error { return k.config.RenewCertAsync(ctx, name, false) })
	}
	return nil
}

// renew orders the certificate anew, whatever its age.
func (k *keeper) renew(ctx context.Context) error {
	err := k.attempt(ctx, func(ctx context.Context, name string) error { return k.config.RenewCertAsync(ctx, name, true) })
	if err != nil {
		return errors.New(k.explain(err))
	}
	return nil
}

// load puts the certificate on disk in service, in the place of what was. A handshake finds either.
func (k *keeper) load(ctx context.Context) error {
	fresh, err := k.config.CacheManagedCertificate(ctx, k.order.name)
	if err != nil {
		k.fail(err, false)
		return err
	}
	for _, old := range k.cache.AllMatchingCertificates(k.order.name) {
		if old.Hash() != fresh.Hash() {
			k.cache.Remove([]string{old.Hash()})
		}
	}
	return nil
}

// stored reports whether there is a certificate on disk.
func (k *keeper) stored(ctx context.Context) bool {
	return k.storage.Exists(ctx, certmagic.StorageKeys.SiteCert(k.issuer.IssuerKey(), k.order.name))
}

// current is the certificate in service.
func (k *keeper) current() (certmagic.Certificate, bool) {
	certs := k.cache.AllMatchingCertificates(k.order.name)
	if len(certs) == 0 || certs[0].Leaf == nil {
		return certmagic.Certificate{}, false
	}
	return certs[0], true
}

// event is told by certmagic how an order or a renewal goes, also of those that it began by itself. It never returns an
// error: that would abort what certmagic is about to do.
func (k *keeper) event(ctx context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtaining":
		if k.byPort {
			k.order.client.ports.hold(k, attemptOf(ctx))
		}
		k.order.client.log.Info("certificate ordered", "name", k.order.name, "key", k.keyType(), "authority", k.order.client.directory)
	case "cert_obtained":
		k.order.client.ports.release(k, attemptOf(ctx))
		k.succeed(ctx, data["renewal"] == true)
	case "cert_failed":
		k.order.client.ports.release(k, attemptOf(ctx))
		err, _ := data["error"].(error)
		if ctx.Err() == nil {
			k.fail(err, data["renewal"] == true)
		}
		if a := attemptOf(ctx); a != nil {
			a.end(err)
		}
	case "cert_ocsp_revoked":
		k.order.client.log.Error("certificate was revoked, a new one is ordered; find out why", "name", k.order.name, "key", k.keyType())
		k.tell(Event{Kind: EventRevoked})
	}
	return nil
}

// succeed puts in service what has just been stored. certmagic would do that a moment later, and tell nobody when.
func (k *keeper) succeed(ctx context.Context, renewal bool) {
	if k.load(ctx) != nil {
		return
	}
	k.mu.Lock()
	k.failure, k.failed = "", time.Time{}
	k.mu.Unlock()
	kind, did := EventObtained, "certificate obtained"
	if renewal {
		kind, did = EventRenewed, "certificate renewed"
	}
	facts := k.describe()
	k.order.client.log.Info(did, "name", k.order.name, "key", facts.KeyType, "issuer", facts.Issuer, "not_after", facts.NotAfter)
	k.tell(Event{Kind: kind})
}

// fail keeps and tells why an attempt failed.
func (k *keeper) fail(err error, renewal bool) {
	why := k.explain(err)
	k.mu.Lock()
	k.failure, k.failed = why, time.Now()
	k.mu.Unlock()
	did := "certificate not obtained, it will be ordered again"
	if renewal {
		did = "certificate not renewed, the old one stays in service and it will be ordered again"
	}
	k.order.client.log.Warn(did, "name", k.order.name, "key", k.keyType(), "err", why)
	k.tell(Event{Kind: EventFailed, Err: why})
}

func (k *keeper) explain(err error) string {
	return explain(err, orderFacts{name: k.order.name, directory: k.order.client.directory})
}

// tell adds the certificate's facts to an event.
func (k *keeper) tell(e Event) {
	if k.order.client.notify == nil {
		return
	}
	facts := k.describe()
	e.Time, e.Names, e.Source = time.Now(), []string{k.order.name}, SourceACME
	e.Serial, e.Issuer, e.NotAfter = facts.Serial, facts.Issuer, facts.NotAfter
	k.order.client.notify(e)
}

// describe tells of the certificate, or that it is awaited.
func (k *keeper) describe() Certificate {
	facts := Certificate{Names: []string{k.order.name}, KeyType: k.keyType(), Source: SourceACME, Awaited: true}
	if cert, ok := k.current(); ok {
		facts = describe(cert.Leaf, SourceACME)
		facts.NextRenewal = k.nextRenewal(cert.Leaf)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	facts.Err, facts.ErrAt = k.failure, k.failed
	return facts
}

func (k *keeper) keyType() string {
	if k.kind == certmagic.RSA2048 {
		return "RSA 2048"
	}
	return "ECDSA P-256"
}

// nextRenewal is the moment that the authority suggested (ARI, RFC 9773), else the last third of the certificate's life.
func (k *keeper) nextRenewal(leaf *x509.Certificate) time.Time {
	if suggested := k.suggestion(); !suggested.IsZero() {
		return suggested
	}
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

// suggestion reads what certmagic has kept beside the certificate: it does not tell otherwise.
func (k *keeper) suggestion() time.Time {
	b, err := k.storage.Load(context.Background(), certmagic.StorageKeys.SiteMeta(k.issuer.IssuerKey(), k.order.name))
	if err != nil {
		return time.Time{}
	}
	var meta certmagic.CertificateResource
	var issued acme.Certificate
	if json.Unmarshal(b, &meta) != nil || json.Unmarshal(meta.IssuerData, &issued) != nil || issued.RenewalInfo == nil {
		return time.Time{}
	}
	return issued.RenewalInfo.SelectedTime
}
