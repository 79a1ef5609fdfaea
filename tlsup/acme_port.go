package tlsup

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	// challengeTime bounds what is read from and written to whoever connects to a port for validations.
	challengeTime = 10 * time.Second
	// maxChallengers is how many of them are dealt with at a time; the others wait in the kernel's queue, those of HTTP are closed.
	maxChallengers = 64
	// maxChallengeHeader bounds the header of a request, in octets.
	maxChallengeHeader = 8192
)

// challengePorts answers validations, and is open only while something is ordered. certmagic would open the ports too, but
// knows no deadlines, and complains of every stranger; it leaves a port alone that somebody listens on.
type challengePorts struct {
	http, tls string // addresses; "" leaves that challenge out
	challenge func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	mu     sync.Mutex // guards what follows
	orders map[*keeper]*attempt
	cancel context.CancelFunc // nil while nothing is open
	closed bool               // for good
	tasks  sync.WaitGroup
}

func newChallengePorts(c ACME, challenge func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *challengePorts {
	return &challengePorts{http: challengeAddr(c.Host, c.HTTPPort, certmagic.HTTPChallengePort),
		tls: challengeAddr(c.Host, c.TLSPort, certmagic.TLSALPNChallengePort), challenge: challenge, orders: make(map[*keeper]*attempt)}
}

func challengeAddr(host string, port, usual int) string {
	switch {
	case port < 0:
		return ""
	case port == 0:
		port = usual
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// hold keeps the ports open for an attempt of k's, nil for one that certmagic began by itself, until that is released.
// Only one is under way at a time: certmagic's lock on the name has the others wait.
func (p *challengePorts) hold(k *keeper, by *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders[k] = by
	if p.cancel != nil || p.closed {
		return
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	p.listen(ctx, p.http, func(l net.Listener) { p.serveHTTP(ctx, l, k.issuer) })
	p.listen(ctx, p.tls, func(l net.Listener) { p.serveTLS(ctx, l) })
}

// listen opens a port. One that cannot be opened is left to certmagic, which looks whether somebody answers there, and
// fails the order if not.
func (p *challengePorts) listen(ctx context.Context, addr string, serve func(net.Listener)) {
	if addr == "" {
		return
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return
	}
	p.tasks.Go(func() { serve(l) })
}

// release closes the ports when nothing is ordered any more. It may be called without hold, and again: what another
// attempt holds stays open.
func (p *challengePorts) release(k *keeper, by *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.orders[k]; ok && held == by {
		delete(p.orders, k)
	}
	if len(p.orders) == 0 {
		p.closeLocked()
	}
}

// close closes the ports whatever is ordered, and for good.
func (p *challengePorts) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.closeLocked()
}

func (p *challengePorts) closeLocked() {
	if p.cancel != nil {
		p.cancel()
		p.tasks.Wait()
		p.cancel = nil
	}
}

// serveHTTP answers HTTP-01. Any issuer knows the answers to the challenges of all.
func (p *challengePorts) serveHTTP(ctx context.Context, l net.Listener, issuer *certmagic.ACMEIssuer) {
	s := &http.Server{Handler: issuer.HTTPChallengeHandler(http.NotFoundHandler()), ReadTimeout: challengeTime,
		WriteTimeout: challengeTime, MaxHeaderBytes: maxChallengeHeader, ErrorLog: log.New(io.Discard, "", 0)}
	var open atomic.Int64
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if open.Add(1) > maxChallengers {
				conn.Close()
			}
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { s.Close() })()
	s.Serve(l)
}

// serveTLS answers TLS-ALPN-01: the handshake is all there is.
func (p *challengePorts) serveTLS(ctx context.Context, l net.Listener) {
	p.tasks.Go(func() { <-ctx.Done(); l.Close() }) // a task, for Accept fails before the port is closed
	config := &tls.Config{NextProtos: []string{ProtocolACME}, GetCertificate: p.certificate}
	slots := make(chan struct{}, maxChallengers)
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if err != nil {
			pause(ctx, 50*time.Millisecond) // out of files, perhaps
			continue
		}
		select {
		case slots <- struct{}{}:
			p.tasks.Go(func() { shakeHands(ctx, conn, config); <-slots })
		case <-ctx.Done():
			conn.Close()
		}
	}
}

// errNotChallenge ends the handshake of somebody who wants something else.
var errNotChallenge = errors.New("this port is for validations only")

func (p *challengePorts) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !slices.Contains(hello.SupportedProtos, ProtocolACME) {
		return nil, errNotChallenge
	}
	return p.challenge(hello)
}

func shakeHands(ctx context.Context, conn net.Conn, config *tls.Config) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(challengeTime))
	tls.Server(conn, config).HandshakeContext(ctx)
}
