// Package tlsup is all that Postern does about TLS: it finds certificates for the clients' leg and keeps them
// fresh, says which protocol versions and cipher suites are spoken, and verifies the backend.
//
// Certificates come from an ACME authority such as Let's Encrypt, from pairs of PEM files, and from a local
// authority that keeps its root in the data directory; any of them together. New opens them and returns a
// Source; Source.TLSConfig is what a listener's handshake needs, and the name that a client asks for chooses.
// All of them renew or reload while connections are served; no listener is ever restarted for a certificate.
// Upstream is the other side: what is demanded of the backend.
//
// The package neither listens for mail clients nor does handshakes; the ports that ACME validates
// are opened only while a certificate is being ordered. It logs, but never key material.
package tlsup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrConfig is wrapped by the errors of New that a change of the configuration mends.
var ErrConfig = errors.New("certificate configuration")

// ErrUnknownName tells that no source has a certificate of that name.
var ErrUnknownName = errors.New("no certificate of that name")

// Config says where certificates come from and how TLS is spoken. At least one of Files, ACME and Local is to be
// set.
type Config struct {
	Files []Pair // of PEM files; they are read again when they change
	ACME  ACME   // the zero ACME orders nothing
	Local bool   // be an authority of our own, for names that no other source has
	// LocalNames are host names and addresses that the local authority's certificate is valid for besides
	// localhost, 127.0.0.1, ::1 and the machine's host name.
	LocalNames []string

	// DefaultName is whose certificate is shown to clients that name no server, or one that nobody has; "" is the first
	// pair of files, else the first ACME name, else the local authority's. The local authority's is made to have it.
	DefaultName string
	Policy      Policy     // "" is PolicyIntermediate
	Clients     ClientAuth // certificates of clients

	DataDir string       // keeps what must survive a restart: acme/ and local-ca/; files alone need none
	Logger  *slog.Logger // is told of renewals, reloads and trouble; nil logs nothing
	Notify  func(Event)  // is told of every turn of a certificate's fate, and must not block; nil for nobody
}

// Pair names the PEM files of a certificate chain, leaf first, and of its unencrypted key. Both may be the same
// file.
type Pair struct{ Cert, Key string }

// Source hands out certificates. It is safe for concurrent use.
type Source struct {
	config  Config
	log     *slog.Logger
	files   []*pairFiles
	acme    *acmeClient // nil: none
	clients *clientRoots
	warden  warden

	local     atomic.Pointer[localAuthority] // nil until it is needed
	announced sync.Map                       // names of acme that local has stood in for

	stop    context.CancelFunc // ends what runs in the background
	running sync.WaitGroup
	closed  sync.Once
}

// New opens the places that c names. Of an ACME authority it only checks what can be checked without it:
// certificates that are missing are ordered in the background, with retries, and until they come the local authority
// stands in. ctx ends what runs in the background as Close does. The errors name what is wrong and how to mend it.
func New(ctx context.Context, c Config) (*Source, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Notify == nil {
		c.Notify = func(Event) {}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Source{config: c, log: c.Logger, warden: warden{told: map[string]alarm{}}}
	ctx, s.stop = context.WithCancel(ctx)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.look(time.Now())
	s.running.Go(func() { s.watch(ctx) })
	s.running.Go(func() { s.keep(ctx) })
	return s, nil
}

func (s *Source) open(ctx context.Context) (err error) {
	if s.clients, err = openClientRoots(s.config.Clients, s.log); err != nil {
		return fmt.Errorf("client certificates: %w", err)
	}
	for _, names := range s.config.Files {
		p, err := openPair(names, s.log, s.config.Notify)
		if err != nil {
			return fmt.Errorf("certificate from files: %w", err)
		}
		s.files = append(s.files, p)
	}
	if s.config.Local {
		if _, err := s.authority(); err != nil {
			return err
		}
	}
	if s.config.ACME.names() > 0 {
		if s.acme, err = openACME(ctx, s.config.ACME, s.config.DataDir, s.log, s.config.Notify); err != nil {
			return fmt.Errorf("certificates by ACME: %w", err)
		}
		s.acme.awaitKnown(ctx)
		if err := s.standInForAll(); err != nil {
			return err
		}
	}
	return s.checkDefault()
}

func (a ACME) names() int { return len(a.Domains) + len(a.OnDemand) }

// check refuses a Config that names no place, half a place, or what it cannot work without.
func (c *Config) check() error {
	acme := c.ACME.names() > 0
	switch {
	case len(c.Files) == 0 && !acme && !c.Local:
		return fmt.Errorf("%w: none given; name a certificate file and its key, ACME domains, or the local authority", ErrConfig)
	case (acme || c.Local) && c.DataDir == "":
		return fmt.Errorf("%w: no data directory to keep keys in; name one", ErrConfig)
	}
	for _, p := range c.Files {
		switch {
		case p.Key == "":
			return fmt.Errorf("%w: certificate file %s has no key file; name it too, the same file if it holds both", ErrConfig, p.Cert)
		case p.Cert == "":
			return fmt.Errorf("%w: key file %s has no certificate file; name it too", ErrConfig, p.Key)
		}
	}
	return errors.Join(c.Policy.check(), c.Clients.check())
}

// authority returns the local authority and makes it when it is first needed. Only New and then the warden call it.
func (s *Source) authority() (*localAuthority, error) {
	if a := s.local.Load(); a != nil {
		return a, nil
	}
	a, err := openLocal(s.config)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	s.local.Store(a)
	return a, nil
}

// RootFile is the PEM file with the local authority's root, for clients to trust; "" while there is no need of it.
func (s *Source) RootFile() string {
	if a := s.local.Load(); a != nil {
		return a.exported
	}
	return ""
}

// Close ends what runs in the background and waits for it. Configurations that were handed out keep
// answering with the certificates at hand.
func (s *Source) Close() error {
	s.closed.Do(func() {
		s.stop()
		if s.acme != nil {
			s.acme.close()
		}
		s.running.Wait()
	})
	return nil
}
