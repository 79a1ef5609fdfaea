package tlsup

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// backdate makes a certificate valid a little before now, for clients whose clock is behind.
	backdate = time.Hour
	// reissueRetry is the pause after a renewal that failed.
	reissueRetry = time.Hour
	// maxLocalNames leaves room for those that it stands in for.
	maxLocalNames = 2 * maxDomains
)

// localAuthority has a root and a leaf of its own, both kept on disk.
type localAuthority struct {
	exported string // the root for clients
	dir      string
	root     *x509.Certificate
	key      crypto.Signer
	dns      []string
	ips      []net.IP
	log      *slog.Logger

	leaf atomic.Pointer[tls.Certificate]

	mu       sync.Mutex // guards what follows, and the making of a leaf
	failure  string     // of the last renewal, "" if it went well
	failedAt time.Time
}

// RootFile is where the local authority with this data directory puts its root, for clients to trust.
func RootFile(dataDir string) string { return filepath.Join(dataDir, "postern-local-ca.pem") }

func openLocal(c Config) (*localAuthority, error) {
	a := &localAuthority{log: c.Logger, dir: filepath.Join(c.DataDir, "local-ca"), exported: RootFile(c.DataDir)}
	// It stands in for what ACME has not given yet, and must be able to vouch for that.
	names := slices.Concat(c.LocalNames, c.ACME.Domains, c.ACME.OnDemand)
	if c.DefaultName != "" {
		names = append(names, c.DefaultName)
	}
	if err := a.name(names); err != nil {
		return nil, err
	}
	if err := privateDir(a.dir); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := a.openRoot(now); err != nil {
		return nil, err
	}
	if err := a.export(); err != nil {
		return nil, err
	}
	if a.openLeaf(); a.leaf.Load() == nil || a.due(now) {
		return a, a.issue(now)
	}
	return a, nil
}

// name gathers what the leaf is to be valid for.
func (a *localAuthority) name(extra []string) error {
	a.dns, a.ips = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	// A machine without a usable name is reached by the others.
	if host, err := os.Hostname(); err == nil && isHostName(strings.ToLower(host)) {
		extra = append([]string{host}, extra...)
	}
	if len(extra) > maxLocalNames {
		return fmt.Errorf("%w: %d local names; at most %d", ErrConfig, len(extra), maxLocalNames)
	}
	for _, name := range extra {
		name = canonical(name)
		ip := net.ParseIP(name)
		switch {
		case ip != nil && !slices.ContainsFunc(a.ips, ip.Equal):
			a.ips = append(a.ips, ip)
		case ip == nil && !isHostName(strings.TrimPrefix(name, "*.")):
			return fmt.Errorf("%w: local name %q is neither a host name nor an address", ErrConfig, name)
		case ip == nil && !slices.Contains(a.dns, name):
			a.dns = append(a.dns, name)
		}
	}
	return nil
}

// openRoot loads the root, or makes one if there is none.
func (a *localAuthority) openRoot(now time.Time) error {
	certFile, keyFile := filepath.Join(a.dir, "root.pem"), filepath.Join(a.dir, "root-key.pem")
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		return a.makeRoot(certFile, keyFile, now)
	}
	remedy := "restore it, or remove " + a.dir + " to start a new authority, which clients must be told to trust anew"
	certPEM, certErr := readPEM(certFile, "root")
	keyPEM, keyErr := readPEM(keyFile, "root key")
	if err := errors.Join(certErr, keyErr); err != nil {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	if err := a.shut(keyFile); err != nil {
		return err
	}
	pair, err := parsePair(certFile, keyFile, certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA || now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%w: root %s has expired or is none; %s", ErrConfig, certFile, remedy)
	}
	a.root, a.key = pair.Leaf, key
	return nil
}

// makeRoot makes a root and keeps it. The key is written first: a root.pem without its key is an error
// that somebody has to look at, a key without root.pem is what an interrupted start leaves behind.
func (a *localAuthority) makeRoot(certFile, keyFile string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make root key: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Postern local authority " + strings.ToLower(rand.Text()[:8])},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true,
		IsCA: true, MaxPathLenZero: true, // signs leaves, no further authorities
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	if err := keepPair(certFile, keyFile, der, key); err != nil {
		return fmt.Errorf("keep root: %w", err)
	}
	a.key = key
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("read root back: %w", err)
	}
	a.log.Info("local authority made", "name", a.root.Subject.CommonName, "not_after", a.root.NotAfter)
	return nil
}

// export puts the root where clients' owners find it.
func (a *localAuthority) export() error {
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
	if err := writeFile(a.exported, b, 0o644); err != nil {
		return fmt.Errorf("export root: %w", err)
	}
	return nil
}

// keepPair writes the key first: a certificate without its key is an error that somebody has to look at, a key
// alone is what an interrupted start leaves behind.
func keepPair(certFile, keyFile string, der []byte, key crypto.Signer) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// shut takes from others what they may not have.
func (a *localAuthority) shut(keyFile string) error {
	info, err := os.Stat(keyFile)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	a.log.Warn("the local authority's key was open to others, and is not any more; who read it can pass for this server",
		"file", keyFile, "mode", info.Mode().Perm().String())
	return os.Chmod(keyFile, 0o600)
}

func (a *localAuthority) leafFiles() (certFile, keyFile string) {
	return filepath.Join(a.dir, "leaf.pem"), filepath.Join(a.dir, "leaf-key.pem")
}

// openLeaf takes the leaf on disk if it is this root's and has the names that it must have. Any other is no
// loss: a new one is made.
func (a *localAuthority) openLeaf() {
	certFile, keyFile := a.leafFiles()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil || pair.Leaf.CheckSignatureFrom(a.root) != nil || a.shut(keyFile) != nil ||
		!slices.Equal(leafNames(pair.Leaf), a.names()) {
		return
	}
	a.leaf.Store(&pair)
}

func (a *localAuthority) names() []string {
	names := slices.Clone(a.dns)
	for _, ip := range a.ips {
		names = append(names, ip.String())
	}
	return names
}

// covers reports whether the leaf is valid for name.
func (a *localAuthority) covers(name string) bool {
	return a.leaf.Load().Leaf.VerifyHostname(name) == nil
}

// issue makes a new leaf.
func (a *localAuthority) issue(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.issueLocked(now)
	if a.failure, a.failedAt = "", (time.Time{}); err != nil {
		a.failure, a.failedAt = err.Error(), now
	}
	return err
}

// issueLocked makes a leaf with a key of its own; it never outlives the root.
func (a *localAuthority) issueLocked(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make leaf key: %w", err)
	}
	end := now.Add(leafLife)
	if end.After(a.root.NotAfter) {
		end = a.root.NotAfter
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: a.dns[0]},
		NotBefore: now.Add(-backdate), NotAfter: end,
		DNSNames: a.dns, IPAddresses: a.ips, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign leaf: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("read leaf back: %w", err)
	}
	certFile, keyFile := a.leafFiles()
	if err := keepPair(certFile, keyFile, der, key); err != nil {
		return fmt.Errorf("keep leaf: %w", err)
	}
	a.leaf.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf})
	return nil
}

// renewal is when less than a third of the leaf's life is left; zero when the root leaves it no more.
func (a *localAuthority) renewal() time.Time {
	leaf := a.leaf.Load().Leaf
	if leaf.NotAfter.Equal(a.root.NotAfter) {
		return time.Time{}
	}
	return leaf.NotAfter.Add(-leafLife / 3)
}

// due reports whether it is time for a renewal: for the next attempt, when the last one failed. A leaf from the future
// was made before somebody set the clock.
func (a *localAuthority) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.renewal()
	return now.Sub(a.failedAt) >= reissueRetry && (!at.IsZero() && now.After(at) || now.Before(a.leaf.Load().Leaf.NotBefore))
}

func (a *localAuthority) describe() Certificate {
	c := describe(a.leaf.Load().Leaf, SourceLocal)
	c.NextRenewal = a.renewal()
	a.mu.Lock()
	defer a.mu.Unlock()
	c.Err, c.ErrAt = a.failure, a.failedAt
	return c
}

// reissue renews the local authority's leaf.
func (s *Source) reissue(a *localAuthority, now time.Time) error {
	if err := a.issue(now); err != nil {
		s.config.Notify(a.describe().event(EventFailed, err.Error()))
		return err
	}
	c := a.describe()
	s.log.Info("local certificate renewed", "names", c.Names, "not_after", c.NotAfter)
	s.config.Notify(c.event(EventRenewed, ""))
	return nil
}
