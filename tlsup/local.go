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
	"time"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// backdate makes a certificate valid a little before now, for clients whose clock is behind.
	backdate = time.Hour
)

// localAuthority is a provider with a root of its own. Only the root is kept on disk; the leaf lives in
// memory, is made at the start, and again by the first handshake that finds it old.
type localAuthority struct {
	exported string // the root for clients
	root     *x509.Certificate
	key      crypto.Signer
	dns      []string
	ips      []net.IP
	log      *slog.Logger
	now      func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate
}

func openLocal(c Config) (*localAuthority, error) {
	a := &localAuthority{log: c.Logger, now: time.Now, exported: filepath.Join(c.DataDir, "postern-local-ca.pem")}
	if err := a.name(c.LocalNames); err != nil {
		return nil, err
	}
	dir := filepath.Join(c.DataDir, "local-ca")
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	if err := a.openRoot(dir); err != nil {
		return nil, err
	}
	if err := a.export(); err != nil {
		return nil, err
	}
	var err error
	a.leaf, err = a.issue()
	return a, err
}

// name gathers what the leaf is to be valid for.
func (a *localAuthority) name(extra []string) error {
	a.dns, a.ips = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	// A machine without a usable name is reached by the others.
	if host, err := os.Hostname(); err == nil && isHostName(strings.ToLower(host)) {
		extra = append([]string{host}, extra...)
	}
	if len(extra) > maxDomains {
		return fmt.Errorf("%w: %d local names; at most %d", ErrConfig, len(extra), maxDomains)
	}
	for _, name := range extra {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
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

// openRoot loads the root in dir, or makes one if there is none.
func (a *localAuthority) openRoot(dir string) error {
	certFile, keyFile := filepath.Join(dir, "root.pem"), filepath.Join(dir, "root-key.pem")
	if _, err := os.Stat(certFile); errors.Is(err, fs.ErrNotExist) {
		return a.makeRoot(certFile, keyFile)
	}
	remedy := "restore it, or remove " + dir + " to start a new authority, which clients must be told to trust anew"
	certPEM, certErr := readPEM(certFile, "root")
	keyPEM, keyErr := readPEM(keyFile, "root key")
	if err := errors.Join(certErr, keyErr); err != nil {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	pair, err := parsePair(certFile, keyFile, certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA || a.now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%w: root %s has expired or is none; %s", ErrConfig, certFile, remedy)
	}
	a.root, a.key = pair.Leaf, key
	return nil
}

// makeRoot makes a root and keeps it. The key is written first: a root.pem without its key is an error
// that somebody has to look at, a key without root.pem is what an interrupted start leaves behind.
func (a *localAuthority) makeRoot(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make root key: %w", err)
	}
	now := a.now()
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
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode root key: %w", err)
	}
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return fmt.Errorf("keep root key: %w", err)
	}
	if err := writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
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

// issue makes a leaf with a key of its own; it never outlives the root.
func (a *localAuthority) issue() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	now := a.now()
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
		return nil, fmt.Errorf("sign leaf: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read leaf back: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// certificate hands out the leaf, a new one when less than a third of the old one's life is left.
func (a *localAuthority) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	leaf := a.leaf.Leaf
	if leaf.NotAfter.Sub(a.now()) > leafLife/3 || leaf.NotAfter.Equal(a.root.NotAfter) {
		return a.leaf, nil
	}
	fresh, err := a.issue()
	if err != nil {
		a.log.Error("local certificate not renewed, the old one stays in service", "err", err, "not_after", leaf.NotAfter)
		return a.leaf, nil
	}
	a.leaf = fresh
	a.log.Info("local certificate renewed", "names", leafNames(fresh.Leaf), "not_after", fresh.Leaf.NotAfter)
	return a.leaf, nil
}

func (a *localAuthority) inService() []Certificate {
	cert, _ := a.certificate(nil) // never an error
	return []Certificate{{Names: leafNames(cert.Leaf), NotAfter: cert.Leaf.NotAfter, Source: SourceLocal}}
}

func (a *localAuthority) close() {}
