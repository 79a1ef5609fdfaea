package tlsup

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The kinds of source, in Certificate.Source and Event.Source.
const (
	SourceACME  = "acme"
	SourceFile  = "file"
	SourceLocal = "local"
)

// Certificate tells of a certificate in service, or awaited.
type Certificate struct {
	Names     []string // DNS names and IP addresses it is valid for, or is to be
	Serial    string   // lower-case hex
	Issuer    string   // its common name, or its organization
	KeyType   string   // "ECDSA P-256", "RSA 2048"
	Source    string   // SourceACME, SourceFile or SourceLocal
	NotBefore time.Time
	NotAfter  time.Time
	// NextRenewal is when it will be renewed; zero if that is not Postern's to do, or not known.
	NextRenewal time.Time
	Awaited     bool      // ordered and not there yet: the local authority stands in
	Err         string    // of the last order, renewal or reload; "" when that went well
	ErrAt       time.Time // when
	File        string    // of a pair: the certificate's path
}

// EventKind names a turn of a certificate's fate.
type EventKind string

// What happens to certificates.
const (
	EventObtained EventKind = "obtained" // the first one of its name is in service
	EventRenewed  EventKind = "renewed"
	EventFailed   EventKind = "failed"   // an order or a renewal; the old one stays in service
	EventReloaded EventKind = "reloaded" // a replaced pair of files is in service
	EventRefused  EventKind = "refused"  // a replaced pair of files is broken; the old one stays in service
	EventExpiring EventKind = "expiring"
	EventExpired  EventKind = "expired"
	EventRevoked  EventKind = "revoked"
	EventFallback EventKind = "fallback" // the local authority stands in
)

// EventKinds are all there are.
var EventKinds = []EventKind{EventObtained, EventRenewed, EventFailed, EventReloaded, EventRefused, EventExpiring,
	EventExpired, EventRevoked, EventFallback}

// Event is one turn of a certificate's fate.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Names    []string
	Source   string
	Serial   string    // lower-case hex, "" while there is none
	Issuer   string    // its common name
	NotAfter time.Time // zero while there is none
	Err      string    // the cause and the remedy, "" if it is good news
}

// event is the Event that tells of c.
func (c Certificate) event(kind EventKind, err string) Event {
	return Event{Time: time.Now(), Kind: kind, Names: c.Names, Source: c.Source, Serial: c.Serial, Issuer: c.Issuer,
		NotAfter: c.NotAfter, Err: err}
}

// describe tells of a leaf.
func describe(leaf *x509.Certificate, source string) Certificate {
	issuer := leaf.Issuer.CommonName
	if issuer == "" {
		issuer = strings.Join(leaf.Issuer.Organization, ", ")
	}
	return Certificate{Names: leafNames(leaf), Serial: hex.EncodeToString(leaf.SerialNumber.Bytes()), Issuer: issuer,
		KeyType: keyType(leaf.PublicKey), Source: source, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
}

func keyType(key any) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

// Certificates lists what is in service or awaited, from every source.
func (s *Source) Certificates() (all []Certificate) {
	for _, p := range s.files {
		all = append(all, p.describe())
	}
	if s.acme != nil {
		all = append(all, s.acme.certificates()...)
	}
	// One that only stood in, and does not any more, is in nobody's service.
	standsIn := slices.ContainsFunc(all, func(c Certificate) bool { return c.Awaited })
	if a := s.local.Load(); a != nil && (s.config.Local || standsIn) {
		all = append(all, a.describe())
	}
	return all
}

// Renew replaces the certificates of name now: files are read again, the local authority issues anew, and an ACME
// order is made, which returns when its certificate is in service. The error wraps ErrUnknownName if nobody has it.
func (s *Source) Renew(ctx context.Context, name string) error {
	name = canonical(name)
	var errs []error
	found := false
	for _, p := range s.files {
		if names(p.leaf(), name) {
			found = true
			errs = append(errs, p.reload())
		}
	}
	if s.acme != nil && s.acme.orders[name] != nil {
		found = true
		errs = append(errs, s.acme.renew(ctx, name))
	}
	if a := s.local.Load(); !found && a != nil && names(a.leaf.Load().Leaf, name) {
		return s.reissue(a, time.Now())
	}
	if !found {
		return fmt.Errorf("%w: %.253q", ErrUnknownName, name)
	}
	return errors.Join(errs...)
}

// canonical is the one form of a name: lower case, no dot at its end.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
