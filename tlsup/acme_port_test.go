package tlsup

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/tlsup/acmetest"
)

// newTriedKeeper returns a keeper whose first order has failed, as nobody is there, and is not tried again.
func newTriedKeeper(t *testing.T) *keeper {
	t.Helper()
	c := ACME{Domains: []string{"ports.example.test"}, Directory: "https://" + acmetest.FreeAddr(t) + "/dir", Host: "127.0.0.1",
		HTTPPort: acmetest.FreePort(t), TLSPort: acmetest.FreePort(t), pace: acmePace{retry: []time.Duration{time.Hour}}}
	var log logBook
	a, err := openACME(t.Context(), c, t.TempDir(), log.logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	k := a.orders["ports.example.test"].keepers[0]
	<-k.order.tried
	return k
}

// Strangers on the ports for validations get nothing, cannot stay, and keep nobody from closing.
func TestChallengePorts(t *testing.T) {
	k := newTriedKeeper(t)
	ports := k.order.client.ports
	ports.hold(k, nil)
	answer, err := http.Get(fmt.Sprintf("http://%s/.well-known/acme-challenge/guess", ports.http))
	if err != nil || answer.StatusCode != http.StatusNotFound {
		t.Fatalf("answer %v, error %v", answer, err)
	}
	answer.Body.Close()
	for _, protocol := range []string{"pop3", ProtocolACME} {
		conn, err := tls.Dial("tcp", ports.tls, &tls.Config{InsecureSkipVerify: true, ServerName: "ports.example.test", NextProtos: []string{protocol}})
		if err == nil {
			conn.Close()
			t.Errorf("a handshake for %s", protocol)
		}
	}
	strangers := make([]net.Conn, maxChallengers+1)
	for i := range strangers {
		if strangers[i], err = net.Dial("tcp", ports.http); err != nil {
			t.Fatal(err)
		}
		defer strangers[i].Close()
	}
	last := strangers[maxChallengers]
	last.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("one stranger too many stays: %v", err)
	}
	another, err := net.Dial("tcp", ports.tls)
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	start := time.Now()
	ports.release(k, nil)
	ports.release(k, nil)
	for _, conn := range []net.Conn{strangers[0], another} {
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(conn); err != nil && isTimeout(err) {
			t.Error("a stranger is still connected")
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
	if _, err := net.Dial("tcp", ports.tls); err == nil {
		t.Error("still open")
	}
}

// An attempt that ends closes no port that another one needs, such as a renewal that waits for an order and is given up.
func TestChallengePortsOfAnotherAttempt(t *testing.T) {
	k := newTriedKeeper(t)
	ports := k.order.client.ports
	held, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- k.attempt(t.Context(), func(ctx context.Context, _ string) error {
			k.event(ctx, "cert_obtaining", nil)
			close(held)
			<-finish
			return nil
		})
	}()
	<-held
	given, up := context.WithCancel(t.Context())
	up()
	if err := k.attempt(given, func(ctx context.Context, _ string) error { return ctx.Err() }); err == nil {
		t.Error("an attempt that was given up went well")
	}
	for _, addr := range []string{ports.http, ports.tls} {
		if conn, err := net.Dial("tcp", addr); err != nil {
			t.Errorf("in the middle of an order: %v", err)
		} else {
			conn.Close()
		}
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", ports.tls); err == nil {
		conn.Close()
		t.Error("still open when nothing is ordered")
	}
}

// lazy is a listener that takes a while from when Accept fails until it is closed, as the system's may. Who closes it
// again does not wait for that.
type lazy struct {
	net.Listener
	begun  chan struct{} // closed when Accept is called
	ended  chan struct{} // closed when it fails
	once   sync.Once
	closed atomic.Bool
}

func (l *lazy) Accept() (net.Conn, error) {
	close(l.begun)
	<-l.ended
	return nil, net.ErrClosed
}

func (l *lazy) Close() (err error) {
	err = net.ErrClosed
	l.once.Do(func() {
		close(l.ended)
		err = nil
	})
	if err == nil {
		time.Sleep(200 * time.Millisecond)
		l.closed.Store(true)
	}
	return err
}

func TestChallengePortsWaitUntilTheyAreClosed(t *testing.T) {
	p := newChallengePorts(ACME{}, nil)
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(t.Context())
	l := &lazy{begun: make(chan struct{}), ended: make(chan struct{})}
	p.tasks.Go(func() { p.serveTLS(ctx, l) })
	<-l.begun
	p.close()
	if !l.closed.Load() {
		t.Error("the port is said to be closed before it is")
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
