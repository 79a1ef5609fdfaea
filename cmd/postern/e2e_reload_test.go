package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/audit"
	"postern/cmd/internal/peers"
	"postern/proxy"
)

// reloadTime is how soon a replaced certificate must be served.
const reloadTime = time.Second

// Certificates are replaced under load: no session fails, those in progress never notice, and each new certificate is
// served within a second.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	const replacements, workers = 5, 4
	authority := peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e reload 7Sm5", Mail: peers.Small(3)}
	backend := peers.Dovecot(t, alice)
	pair := authority.Issue(t, peers.Leaf{})
	g := serve(t, backend.Addr, []peers.Account{alice}, "--tls-cert", pair.Cert, "--tls-key", pair.Key)
	g.ca = authority.File
	long := peers.MustDial(t, g.target(peers.TLS, alice))
	long.Login(t, alice.User, alice.Password)

	crowd := g.crowd(t, alice, workers)
	crowd.busy(t, filepath.Dir(pair.Cert))
	known := map[string]bool{pair.Serial(): true}
	var took []time.Duration
	for n := range replacements {
		next := authority.Issue(t, peers.Leaf{RSA: n%2 == 1})
		pair.Replace(t, next)
		known[next.Serial()] = true
		took = append(took, g.untilServed(t, alice, next.Serial()))
		if reply := long.Must(t, fmt.Sprintf("RETR %d", n%3+1)); !peers.OK(reply) {
			t.Errorf("in a session from before: %q", reply)
		}
	}
	wantInTime(t, took)
	done, failures := crowd.stop()
	t.Logf("%d replacements, %d sessions", replacements, done)
	if len(failures) > 0 || done < workers {
		t.Errorf("%d sessions, %d failed: %v", done, len(failures), errors.Join(failures[:min(5, len(failures))]...))
	}
	long.Must(t, "QUIT")
	for _, s := range allSessions(t, g.reader(t)) {
		if s.TLS == nil || !s.TLS.Resumed && !known[s.TLS.Serial] {
			t.Errorf("session %s is on record with %+v", s.ID, s.TLS)
		}
	}
	if told := g.certificateEvents(t, "reloaded"); len(told) < replacements {
		t.Errorf("%d reloads on record, want %d", len(told), replacements)
	}
}

// crowd is clients that come one after the other.
type crowd struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu       sync.Mutex
	done     int
	failures []error
}

// crowd keeps so many clients reading a's mail, in turn by POP3S and by STLS.
func (g *gate) crowd(t *testing.T, a peers.Account, workers int) *crowd {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &crowd{cancel: cancel}
	for n := range workers {
		mode := []peers.Mode{peers.TLS, peers.STLS}[n%2]
		c.ended.Go(func() {
			for ctx.Err() == nil {
				c.note(readMail(g.target(mode, a), len(a.Mail)))
			}
		})
	}
	return c
}

// busy has other files of a folder change all the time.
func (c *crowd) busy(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stop := c.cancel
	c.cancel = func() {
		stop()
		cancel()
	}
	c.ended.Go(func() {
		for ctx.Err() == nil {
			os.WriteFile(filepath.Join(dir, "other"), nil, 0o600)
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func (c *crowd) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	if err != nil {
		c.failures = append(c.failures, err)
	}
}

func (c *crowd) stop() (done int, failures []error) {
	c.cancel()
	c.ended.Wait()
	return c.done, c.failures
}

// readMail is a whole session: every message, and a QUIT that is answered.
func readMail(target peers.Target, count int) error {
	c, err := peers.Dial(target)
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	commands := []string{"USER " + target.User, "PASS " + target.Password}
	for n := range count {
		commands = append(commands, fmt.Sprintf("RETR %d", n+1))
	}
	for _, command := range append(commands, "QUIT") {
		if reply, err := c.Do(command); err != nil || !peers.OK(reply) {
			return fmt.Errorf("%.4s: %q, %w", command, reply, err)
		}
	}
	return nil
}

// untilServed returns how long after now the first handshake begins that is shown the certificate.
func (g *gate) untilServed(t *testing.T, a peers.Account, serial string) (took time.Duration) {
	t.Helper()
	began := time.Now()
	eventually(t, "the new certificate", func() bool {
		took = time.Since(began)
		return g.served(t, a) == serial
	}, g.showLog)
	return took
}

// wantInTime wants replacements served in time. One may be late: once, with all tests at work, neither Postern nor
// its clients did anything for 1.2 s, which tells nothing of reloading.
func wantInTime(t *testing.T, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	t.Logf("served after %v", took)
	if took[len(took)-2] > reloadTime {
		t.Errorf("served after %v, want %v", took, reloadTime)
	}
}

// served is the serial number of the certificate that a client is shown now.
func (g *gate) served(t *testing.T, a peers.Account) string {
	t.Helper()
	c := peers.MustDial(t, g.target(peers.TLS, a))
	defer c.Conn.Close()
	c.Must(t, "QUIT")
	return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
}

// certificateEvents are the texts of what is on record of certificates under one fate.
func (g *gate) certificateEvents(t *testing.T, fate string) (told []string) {
	t.Helper()
	r := g.reader(t)
	for after := int64(0); ; {
		page, err := r.Records(t.Context(), after, 1000, audit.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return told
		}
		for _, record := range page {
			if after = record.Seq; record.Kind == proxy.KindCertificate && record.Detail == fate {
				told = append(told, record.Text)
			}
		}
	}
}

// A pair that is broken when it is replaced is told of, and the old one is served on; mending it needs no restart.
func TestBrokenReplacement(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e broken pair 2Hv9", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	pair := authority.Issue(t, peers.Leaf{})
	g := serve(t, backend.Addr, []peers.Account{alice}, "--tls-cert", pair.Cert, "--tls-key", pair.Key)
	g.ca = authority.File
	var took []time.Duration
	for n, text := range []string{"", "no PEM at all\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		old := g.served(t, alice)
		if err := os.WriteFile(pair.Cert, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("broken pair %d on record", n+1), func() bool {
			return len(g.certificateEvents(t, "refused")) == n+1
		}, g.showLog)
		if serial := g.served(t, alice); serial != old {
			t.Errorf("%q: served %s, want the old %s", text, serial, old)
		}
		next := authority.Issue(t, peers.Leaf{})
		pair.Replace(t, next)
		took = append(took, g.untilServed(t, alice, next.Serial()))
	}
	wantInTime(t, took)
	for _, told := range g.certificateEvents(t, "refused") {
		contains(t, "what is on record of it", told, pair.Cert)
	}
}

// Clients that stall in a handshake are let go in time, and keep nobody from their mail meanwhile.
func TestStalledHandshakes(t *testing.T) {
	t.Parallel()
	const limit, stalling = 3 * time.Second, 60
	alice := peers.Account{User: "alice", Password: "e2e stalled handshakes 8Zc6", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice}, "--timeout-handshake", limit.String())
	openings := []struct{ addr, text string }{
		{g.pop3s, ""}, {g.pop3s, "\x16\x03\x01\x02\x00\x01\x00\x01"}, {g.pop3, "STLS\r\n"},
	}
	began := time.Now()
	ended := make(chan time.Duration, stalling)
	for n := range stalling {
		opening := openings[n%len(openings)]
		conn, err := net.Dial("tcp", opening.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(conn, opening.text)
		go func() {
			for b := make([]byte, 1<<10); ; {
				if _, err := conn.Read(b); err != nil { // the greeting and the reply to STLS come first
					ended <- time.Since(began)
					return
				}
			}
		}()
	}
	g.readThrough(t, alice)
	if n := len(ended); n > 0 {
		t.Errorf("%d ended before the mail was read", n)
	}
	for range stalling {
		if took := <-ended; took < limit || took > limit+2*time.Second {
			t.Errorf("let go after %v, want %v", took, limit)
		}
	}
	if failed := g.failedHandshakes(t); failed != stalling {
		t.Errorf("%d failed handshakes are counted, want %d", failed, stalling)
	}
}
