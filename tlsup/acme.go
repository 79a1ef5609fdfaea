package tlsup

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	// orderWait is how long the handshake that starts an order waits for the certificate. An order takes a few seconds;
	// a mail client that is served a certificate it cannot trust bothers its user, one that waits does not.
	orderWait = 7 * time.Second
	// stopWait is how long a maintenance that is in the middle of a renewal is waited for.
	stopWait = 3 * time.Second
)

// acmePace is how quickly things are done again. The zero acmePace is what fits public authorities; tests hurry.
type acmePace struct {
	check time.Duration   // between two looks whether a certificate is due
	ocsp  time.Duration   // between two looks whether one was revoked
	retry []time.Duration // between the attempts of a first order; the last one repeats
}

// retryPace keeps below Let's Encrypt's five failed validations of a name in an hour.
var retryPace = []time.Duration{time.Minute, 3 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour}

func (p acmePace) pause(attempts int) time.Duration {
	steps := p.retry
	if len(steps) == 0 {
		steps = retryPace
	}
	return steps[min(attempts, len(steps)-1)]
}

// acmeClient orders certificates from an ACME authority and renews them, one order for each name.
type acmeClient struct {
	directory string
	log       *slog.Logger
	zap       *zap.Logger
	notify    func(Event)
	pace      acmePace
	ports     *challengePorts
	names     []string          // of orders, as configured
	orders    map[string]*order // by name; no name is added later

	stopping context.Context // done when close begins
	cancel   context.CancelFunc

	mu     sync.Mutex // guards what follows, so that nothing starts behind close
	closed bool
	tasks  sync.WaitGroup
}

// openACME checks what can be checked without the authority, and starts the orders. It keeps what it gets in the folder
// acme of dataDir.
func openACME(ctx context.Context, c ACME, dataDir string, log *slog.Logger, notify func(Event)) (*acmeClient, error) {
	issuers, err := newACMEIssuers(c)
	if err != nil {
		return nil, err
	}
	domains, onDemand, err := acmeNames(c)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(dataDir, "acme")
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	a := &acmeClient{directory: issuers.byPort.CA, log: log, zap: zap.New(&slogCore{handler: log.Handler()}),
		notify: notify, pace: c.pace, names: slices.Concat(domains, onDemand), orders: make(map[string]*order)}
	a.ports = newChallengePorts(c, a.challenge)
	a.stopping, a.cancel = context.WithCancel(ctx)
	for _, name := range a.names {
		a.orders[name] = newOrder(a, name, issuers.of(name), dir, c.RSA)
	}
	for _, name := range a.names {
		if o := a.orders[name]; slices.Contains(domains, name) || o.known(ctx) {
			a.start(o)
		}
	}
	return a, nil
}

// start lets an order run, once.
func (a *acmeClient) start(o *order) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed && !o.started.Swap(true) {
		a.tasks.Go(func() { o.run(a.stopping) })
	}
}

// order returns the one that answers for a server name: its own, or that of a wildcard.
func (a *acmeClient) order(name string) *order {
	if o := a.orders[name]; o != nil {
		return o
	}
	_, parent, _ := strings.Cut(name, ".")
	return a.orders["*."+parent]
}

// certificate is what a client is served that asks for name, nil if there is none, or not yet: then somebody else has
// to stand in. A name on the list for orders on demand is ordered now, and waited for a little.
func (a *acmeClient) certificate(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	o := a.order(name)
	if o == nil {
		return nil
	}
	if !o.started.Load() {
		a.start(o)
		o.await(hello.Context())
	}
	return o.certificate(hello)
}

// challenge answers a validation by TLS-ALPN-01 (RFC 8737).
func (a *acmeClient) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	// certmagic logs an error for each validation nobody ordered; anybody could fill the log with them.
	if _, ordered := certmagic.GetACMEChallenge(strings.ToLower(hello.ServerName)); !ordered {
		return nil, fmt.Errorf("no validation of %.253q is under way", hello.ServerName)
	}
	return a.orders[a.names[0]].keepers[0].config.GetCertificate(hello)
}

// certificates lists what is in service or awaited.
func (a *acmeClient) certificates() (out []Certificate) {
	for _, name := range a.names {
		if o := a.orders[name]; o.started.Load() {
			for _, k := range o.keepers {
				out = append(out, k.describe())
			}
		}
	}
	return out
}

// renew orders the certificates of name anew, whatever their age, and returns when they are in service.
func (a *acmeClient) renew(ctx context.Context, name string) error {
	o := a.orders[name]
	if o == nil {
		return fmt.Errorf("%w: %s", ErrUnknownName, name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	for _, k := range o.keepers {
		if err := k.renew(ctx); err != nil {
			return err
		}
	}
	a.start(o)
	o.hurry()
	return nil
}

// close ends the orders and waits for them. A renewal that certmagic has begun by itself cannot be called off; it is
// waited for a little, and ends by itself.
func (a *acmeClient) close() {
	a.mu.Lock()
	again := a.closed
	a.closed = true
	a.mu.Unlock()
	if again {
		return
	}
	a.cancel()
	a.tasks.Wait()
	stopped := make(chan struct{})
	go a.stopCaches(stopped)
	limit := time.NewTimer(stopWait)
	defer limit.Stop()
	select {
	case <-stopped:
	case <-limit.C:
	}
	a.ports.close()
}

func (a *acmeClient) stopCaches(stopped chan<- struct{}) {
	var caches sync.WaitGroup
	for _, o := range a.orders {
		for _, k := range o.keepers {
			caches.Go(k.cache.Stop)
		}
	}
	caches.Wait()
	close(stopped)
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

// awaitKnown waits until the certificates that are on disk are in service, so that nobody who comes early is served
// something else. That needs no authority and takes a moment.
func (a *acmeClient) awaitKnown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for _, name := range a.names {
		for o := a.orders[name]; o.known(ctx) && ctx.Err() == nil; pause(ctx, 5*time.Millisecond) {
			if _, there := o.keepers[0].current(); there {
				break
			}
		}
	}
}
