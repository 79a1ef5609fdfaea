package tlsup

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Verification says how a backend proves who it is.
type Verification string

const (
	VerifyRoots Verification = "roots" // by a certificate that the roots vouch for; so is ""
	VerifyNone  Verification = "none"  // not at all: whoever sits in between can read and change everything
)

// Upstream says how the backend is spoken to in TLS.
type Upstream struct {
	ServerName string       // host name or address that its certificate must have; asked for by SNI
	Verify     Verification // "" is VerifyRoots
	CAFile     string       // PEM file of the roots; "" uses the system's
	// Pins are "sha256//BASE64" of public keys (as curl --pinnedpubkey has them), one of which must be that of its
	// certificate. Without CAFile they vouch alone, and a self-signed certificate will do.
	Pins []string
	// CertFile and KeyFile are our own certificate, if the backend asks; read again when they are replaced.
	CertFile, KeyFile string
	MinVersion        string       // "1.0" to "1.3"; "" is "1.2". Below it come the suites that old servers need
	Logger            *slog.Logger // nil logs nothing
}

const (
	pinPrefix   = "sha256//"
	resumptions = 64 // sessions of one backend that may be resumed
	// resumable is for how long one may. Servers' tickets live longer than that, as a rule: crypto/tls tells of one that has
	// expired as of a handshake that failed.
	resumable    = 5 * time.Minute
	maxNamesTold = 5
)

var versions = map[string]uint16{"": tls.VersionTLS12, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11,
	"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// TLSConfig returns the configuration for a backend's leg. The errors wrap ErrConfig.
func (u Upstream) TLSConfig() (*tls.Config, error) {
	version, known := versions[u.MinVersion]
	if !known {
		return nil, fmt.Errorf("%w: backend's TLS version %.20q; choose 1.0, 1.1, 1.2 or 1.3", ErrConfig, u.MinVersion)
	}
	if u.ServerName == "" {
		return nil, fmt.Errorf("%w: the backend has no name to be verified by; give one", ErrConfig)
	}
	v, err := u.verifier()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		ServerName: u.ServerName, MinVersion: version, CipherSuites: intermediateSuites(),
		ClientSessionCache: u.sessions(),
		// crypto/tls tells less of what is wrong, knows no pins, and leaves resumed sessions out.
		InsecureSkipVerify: true, VerifyConnection: v.verify,
	}
	if version < tls.VersionTLS12 {
		c.CipherSuites = append(c.CipherSuites, legacySuites()...)
	}
	return c, u.identify(c)
}

// sessions keeps what may be resumed. As who shows a certificate we resume nothing: the session would keep the old
// identity when the file is replaced, and servers made with OpenSSL that ask for certificates seldom can.
func (u Upstream) sessions() tls.ClientSessionCache {
	if u.CertFile != "" {
		return nil
	}
	return &sessions{ClientSessionCache: tls.NewLRUClientSessionCache(resumptions)}
}

// sessions is a cache that offers nothing any more once a handshake has failed that resumed: where that is no
// accident, every second session would be lost.
type sessions struct {
	tls.ClientSessionCache
	refused atomic.Bool
	kept    atomic.Pointer[time.Time] // when the newest was, of the one backend that there is
}

// Get is called before a handshake.
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) {
	if kept := s.kept.Load(); s.refused.Load() || kept == nil || time.Since(*kept) > resumable {
		return nil, false
	}
	return s.ClientSessionCache.Get(key)
}

// Put is called with nil after a handshake that resumed and failed.
func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	if state == nil {
		s.refused.Store(true)
	} else {
		now := time.Now()
		s.kept.Store(&now)
	}
	s.ClientSessionCache.Put(key, state)
}

// identify has c show our certificate when the backend asks.
func (u Upstream) identify(c *tls.Config) error {
	if u.CertFile == "" && u.KeyFile == "" {
		return nil
	}
	log := u.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p, err := openPair(Pair{u.CertFile, u.KeyFile}, log, func(Event) {})
	if err != nil {
		return fmt.Errorf("our certificate towards the backend: %w", err)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		p.refresh()
		return p.current.Load(), nil
	}
	return nil
}

// Verified tells how a connection's backend was verified: "name:HOST", "pin:sha256//...", both with a comma between,
// or "" when it was not.
func (u Upstream) Verified(cs tls.ConnectionState) string {
	if u.Verify == VerifyNone {
		return ""
	}
	var how []string
	if u.byRoots() {
		how = append(how, "name:"+u.ServerName)
	}
	if pin := pinOf(cs.PeerCertificates[0]); slices.Contains(u.Pins, pin) {
		how = append(how, "pin:"+pin)
	}
	return strings.Join(how, ",")
}

// byRoots reports whether roots have to vouch for the backend.
func (u Upstream) byRoots() bool {
	return u.Verify != VerifyNone && (u.CAFile != "" || len(u.Pins) == 0)
}

func (u Upstream) verifier() (*verifier, error) {
	v := &verifier{upstream: u}
	switch u.Verify {
	case "", VerifyRoots:
	case VerifyNone:
		if u.CAFile != "" || len(u.Pins) > 0 {
			return nil, fmt.Errorf("%w: the backend is not to be verified, and roots or pins are given; choose", ErrConfig)
		}
	default:
		return nil, fmt.Errorf("%w: backend's verification %.20q; choose roots or none", ErrConfig, string(u.Verify))
	}
	for _, pin := range u.Pins {
		text, sha := strings.CutPrefix(pin, pinPrefix)
		if sum, err := base64.StdEncoding.DecodeString(text); !sha || err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("%w: pin %.80q; write it as sha256//BASE64 of the public key", ErrConfig, pin)
		}
	}
	if u.CAFile == "" {
		return v, nil
	}
	var err error
	v.roots, err = readPool(u.CAFile, "file of the backend's authorities")
	return v, err
}

// verifier holds a backend to what is demanded of it.
type verifier struct {
	upstream Upstream
	roots    *x509.CertPool // nil: the system's
}

// verify runs in every handshake, a resumed one too.
func (v *verifier) verify(cs tls.ConnectionState) error {
	if v.upstream.Verify == VerifyNone {
		return nil
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the backend showed no certificate")
	}
	if v.upstream.byRoots() {
		if err := v.verifyChain(cs.PeerCertificates); err != nil {
			return err
		}
	}
	// Of the chain, only the first has proved its key: anybody can send the rest along.
	pin := pinOf(cs.PeerCertificates[0])
	if len(v.upstream.Pins) == 0 || slices.Contains(v.upstream.Pins, pin) {
		return nil
	}
	return fmt.Errorf("the backend's key is %s, which is none of those pinned; if that is right, give it as backend-pin", pin)
}

func (v *verifier) verifyChain(chain []*x509.Certificate) error {
	options := x509.VerifyOptions{Roots: v.roots, Intermediates: x509.NewCertPool()}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	leaf := chain[0]
	if _, err := leaf.Verify(options); err != nil {
		return v.explain(leaf, err)
	}
	if err := leaf.VerifyHostname(v.upstream.ServerName); err != nil {
		return v.explain(leaf, err)
	}
	return nil
}

// explain says what is wrong with a certificate and how to mend it.
func (v *verifier) explain(leaf *x509.Certificate, err error) error {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		if time.Now().Before(invalid.Cert.NotBefore) {
			return fmt.Errorf("the backend's certificate is not valid before %s; check this machine's clock",
				invalid.Cert.NotBefore.UTC().Format(time.DateOnly))
		}
		return fmt.Errorf("the backend's certificate expired on %s; renew it there, or have its key vouch for it: backend-pin %s",
			invalid.Cert.NotAfter.UTC().Format(time.DateOnly), pinOf(leaf))
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("the backend's certificate is for %s, not for %s; give the name that it has as backend-name",
			namesOf(leaf), v.upstream.ServerName)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("the backend's certificate is signed by %.100q, which nobody here vouches for; "+
			"name that authority's file as backend-ca, or have its key vouch for it: backend-pin %s", leaf.Issuer.String(), pinOf(leaf))
	}
	return fmt.Errorf("the backend's certificate: %w", err)
}

// namesOf lists what a certificate is for, in a line.
func namesOf(leaf *x509.Certificate) string {
	names := leafNames(leaf)
	switch {
	case len(names) == 0:
		return "no name (its subject is " + fmt.Sprintf("%.100q", leaf.Subject.String()) + ")"
	case len(names) > maxNamesTold:
		names = append(names[:maxNamesTold], "others")
	}
	return strings.Join(names, ", ")
}

func pinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return pinPrefix + base64.StdEncoding.EncodeToString(sum[:])
}
