package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"postern/audit"
	"postern/audit/anchor"
	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
	"postern/proxy"
	"postern/tlsup"
	"postern/web"
)

const (
	drainTime    = 30 * time.Second // for commands that run when the daemon is asked to stop
	headerTime   = 5 * time.Second
	requestTime  = 10 * time.Second
	answerTime   = time.Minute // from the request's header on; a WebSocket has times of its own
	idleTime     = 2 * time.Minute
	headerOctets = 64 << 10
)

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("shutting down")
)

// daemon is a whole Postern in operation: relay, audit log, certificates and dashboard.
type daemon struct {
	config *config.Config
	log    *slog.Logger
	failed chan error // the first failure that ends the relay; capacity 1

	bound     []listener // of the relay
	dashboard net.Listener
	audit     *audit.Log
	anchors   *anchor.Anchors // of its checkpoints
	certs     *tlsup.Source
	claim     *control.Claim // of the data directory
	turns     *turns         // of certificates
	behind    *tls.Config    // of the backend's leg; nil in clear text
	control   *control.Server
	relay     *proxy.Server
	pages     *web.Server
	http      *http.Server
	running   sync.WaitGroup
	ending    context.CancelFunc    // of what runs beside the relay and the pages
	readiness atomic.Pointer[error] // why the relay takes no sessions; nil when it does
}

// hint makes the commands that make a first session, once the addresses are known.
type hint func(*daemon) []string

// startDaemon binds all addresses, opens what the relay needs and starts it; c passed check. Whatever
// was started is stopped again when something fails. ctx ends only what runs in the background for
// certificates: end the daemon by stop. stdout is where an anchor may print, and nothing else does. hint, if not nil, makes the commands that the dashboard
// shows while it is empty.
func startDaemon(ctx context.Context, c *config.Config, stdout io.Writer, log *slog.Logger, hint hint) (*daemon, error) {
	d := &daemon{config: c, log: log, failed: make(chan error, 1)}
	d.readiness.Store(&errStarting)
	if err := d.open(ctx, stdout, hint); err != nil {
		closeAll(d.bound)
		if d.dashboard != nil {
			d.dashboard.Close()
		}
		return nil, errors.Join(err, d.closeStores())
	}
	d.serve()
	return d, nil
}

func (d *daemon) open(ctx context.Context, stdout io.Writer, h hint) (err error) {
	c := d.config
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if d.bound, err = bindAll(c); err != nil {
		return fmt.Errorf("cannot listen\n  %w", err)
	}
	if c.Web != "" {
		if d.dashboard, err = bindOne("web", c.Web); err != nil {
			return fmt.Errorf("cannot listen\n  %w", err)
		}
	}
	if d.audit, err = d.openAudit(ctx); err != nil {
		return err
	}
	// What lies there is for one: two would make a root or order certificates at once, and write over each other's.
	if d.claim, err = control.Take(c.DataDir); err != nil {
		return err
	}
	d.recordConfig()
	if err := d.openAnchors(stdout); err != nil {
		return err
	}
	if err := d.openCertificates(ctx); err != nil {
		return err
	}
	d.relay = &proxy.Server{Backend: c.Backend, BackendSecurity: proxy.Security(c.BackendTLS), BackendTLS: d.behind,
		BackendVerified: d.upstream().Verified, Recorder: d.audit, TLS: d.certs.TLSConfig(), Fingerprint: tlsup.JA4,
		Limits: limits(c), Rules: rules(c), Logger: d.log}
	if d.dashboard != nil {
		d.openPages(h)
	}
	d.control, err = d.claim.Serve(d.controls())
	return err
}

// controls is what other commands of the program ask of a running daemon.
func (d *daemon) controls() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /certificates", control.JSON(d.listCertificates))
	mux.Handle("POST /audit/key/rotate", control.JSON(d.rotateKey))
	mux.Handle("POST /certificates/renew", control.JSON(d.renew))
	mux.Handle("POST /audit/access", control.JSON(d.recordAccess))
	d.addRetention(mux)
	return mux
}

func (d *daemon) openAudit(ctx context.Context) (*audit.Log, error) {
	durability, err := audit.ParseDurability(d.config.Durability)
	if err != nil {
		return nil, err
	}
	onFailure, err := audit.ParseOnFailure(d.config.OnFailure)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // a machine without a name has none in the record
	return audit.Open(ctx, audit.Options{Path: d.config.AuditPath(), Durability: durability, OnFailure: onFailure,
		Version: version(), Host: host, User: userName(os.Getuid()), Retention: retention(d.config), Logger: d.log})
}

func retention(c *config.Config) audit.Rules {
	return audit.Rules{Sessions: time.Duration(c.RetainSessions), Messages: time.Duration(c.RetainMessages),
		Addresses: time.Duration(c.RetainAddresses), Users: time.Duration(c.RetainUsers), Size: int64(c.RetainSize)}
}

func limits(c *config.Config) proxy.Limits {
	return proxy.Limits{Sessions: min(c.MaxSessions, affordable()), PerAddress: c.MaxSessionsPerAddress, PerUser: c.MaxSessionsPerUser,
		Handshake: c.TimeoutHandshake, Login: c.TimeoutLogin, Idle: c.TimeoutIdle, Dial: c.TimeoutDial,
		Reply: c.TimeoutReply, Write: c.TimeoutWrite}
}

func rules(c *config.Config) proxy.Rules {
	return proxy.Rules{Translate: proxy.Translation(c.AuthTranslate), RefuseUnknown: c.UnknownVerbs == "refuse",
		Multiline: c.MultilineVerbs, HideLoginErrors: c.LoginErrors == "hide", MatchExternal: c.AuthExternal == "match",
		Pipelining: proxy.Pipelining(c.Pipelining), AskUIDs: c.LedgerUIDL, MailDigest: c.LedgerDigest, MailHeaders: c.LedgerHeaders}
}

func (d *daemon) openPages(h hint) {
	var commands []string
	if h != nil {
		commands = h(d)
	}
	d.pages = web.New(web.Options{Log: d.audit.Reader(), Health: d.audit.Health, Stats: d.relay.Stats, Ready: d.ready,
		Certificates: d.forDashboard, Turns: d.turns.list, Anchors: d.listAnchors, Warnings: warnings(d.config), Version: version(), Hint: commands,
		Record: d.recordReader, Logger: d.log})
	d.http = pageServer(d.pages.Handler(), d.log)
}

// recordReader puts on record who reads through the dashboard, before it answers. As for a command, what keeps the record
// from being made does not keep the log from being read; the log tells of that itself.
func (d *daemon) recordReader(ev proxy.Event) { _ = d.audit.Record(ev).Wait() }

// pageServer bounds what a browser may take, of time, too: whoever neither reads nor writes would keep its place for good.
func pageServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerOctets, ConnState: atMost(maxPages), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

// serve announces the listeners, all bound by now, and serves them.
func (d *daemon) serve() {
	for _, l := range d.bound {
		d.log.Info("listening", "listener", l.name, "address", l.Addr().String())
		d.running.Go(func() { d.serveRelay(l) })
	}
	if d.dashboard != nil {
		d.log.Info("listening", "listener", "web", "address", d.dashboard.Addr().String())
		d.running.Go(d.servePages)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.ending = cancel
	d.running.Go(func() { d.tidy(ctx) })
	d.readiness.Store(nil)
}

func (d *daemon) serveRelay(l listener) {
	err := d.relay.Serve(l, l.mode, l.name)
	if errors.Is(err, proxy.ErrServerClosed) {
		return
	}
	select {
	case d.failed <- fmt.Errorf("serve %s: %w", l.name, err):
	default: // another listener failed first
	}
}

// servePages serves the dashboard. Mail goes on without it, so its failure is only logged.
func (d *daemon) servePages() {
	if err := d.http.Serve(d.dashboard); !errors.Is(err, http.ErrServerClosed) {
		d.log.Error("the dashboard has stopped; restart postern to have it back", "err", err)
	}
}

func (d *daemon) ready() error {
	if why := d.readiness.Load(); why != nil {
		return *why
	}
	return nil
}

// address returns where the first listener of mode is bound, "" if there is none.
func (d *daemon) address(mode proxy.Mode) string {
	for _, l := range d.bound {
		if l.mode == mode {
			return l.Addr().String()
		}
	}
	return ""
}

// stop lets running commands finish, within drainTime or until ctx is done, and closes everything, the
// audit log last: it records how the sessions ended.
func (d *daemon) stop(ctx context.Context) error {
	d.readiness.Store(&errDraining)
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := d.relay.Shutdown(ctx); err != nil {
		d.log.Warn("sessions were cut off", "after", drainTime, "err", err)
	}
	if d.pages != nil {
		d.pages.Close()
		d.http.Close()
	}
	d.ending()
	d.running.Wait()
	return d.closeStores()
}

// closeStores closes what is open of control socket, certificates and log.
func (d *daemon) closeStores() error {
	var errs []error
	if d.control != nil {
		errs = append(errs, wrap("close control socket", d.control.Close()))
	}
	if d.certs != nil {
		errs = append(errs, wrap("close certificates", d.certs.Close()))
	}
	if d.turns != nil {
		d.turns.close()
	}
	if d.audit != nil {
		errs = append(errs, wrap("close audit log", d.closeAudit()))
	}
	if d.claim != nil {
		errs = append(errs, wrap("give up data directory", d.claim.Close()))
	}
	return errors.Join(errs...)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
