package tlsup

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// order sees to it that one name has its certificates, however long the authority takes to give them. From then on
// certmagic renews them.
type order struct {
	name    string
	client  *acmeClient
	keepers []*keeper     // one for each kind of key, the preferred first
	hurried chan struct{} // holds one; ends a pause
	started atomic.Bool

	tried chan struct{} // closed when the first attempt has ended, well or not
	once  sync.Once     // closes tried
}

func newOrder(a *acmeClient, name string, issuer certmagic.ACMEIssuer, dir string, withRSA bool) *order {
	o := &order{name: name, client: a, hurried: make(chan struct{}, 1), tried: make(chan struct{})}
	files := &certmagic.FileStorage{Path: dir}
	o.keepers = append(o.keepers, newKeeper(o, certmagic.P256, issuer, acmeStorage{files, ecdsaFolder, a.log}))
	if withRSA {
		o.keepers = append(o.keepers, newKeeper(o, certmagic.RSA2048, issuer, acmeStorage{files, rsaFolder, a.log}))
	}
	return o
}

// run ends when all certificates are in service. RSA waits for its turn: what fails for one kind of key would fail for
// the other, and authorities count failures.
func (o *order) run(ctx context.Context) {
	for _, k := range o.keepers {
		for attempts := 0; ctx.Err() == nil; attempts++ {
			err := k.obtain(ctx)
			o.once.Do(func() { close(o.tried) })
			if err == nil {
				break
			}
			o.pause(ctx, max(o.client.pace.pause(attempts), time.Until(retryAfter(err))))
		}
	}
}

// pause waits for d, until the operator is in a hurry, or until ctx is done.
func (o *order) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-o.hurried:
	}
}

// hurry ends a pause.
func (o *order) hurry() {
	select {
	case o.hurried <- struct{}{}:
	default:
	}
}

// await waits until the first attempt has ended, but no longer than a client can be expected to.
func (o *order) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, orderWait)
	defer cancel()
	select {
	case <-o.tried:
	case <-ctx.Done():
	}
}

// known reports whether there is a certificate on disk, from an earlier run.
func (o *order) known(ctx context.Context) bool { return o.keepers[0].stored(ctx) }

// certificate is the first that the client can use; one it cannot use if there is no better; nil if there is none.
func (o *order) certificate(hello *tls.ClientHelloInfo) (found *tls.Certificate) {
	for _, k := range o.keepers {
		cert, ok := k.current()
		if !ok {
			continue
		}
		if hello.SupportsCertificate(&cert.Certificate) == nil {
			return &cert.Certificate
		}
		if found == nil {
			found = &cert.Certificate
		}
	}
	return found
}
