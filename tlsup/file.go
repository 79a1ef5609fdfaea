package tlsup

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// pairFiles is a pair of PEM files, read again when they change.
type pairFiles struct {
	files  Pair
	log    *slog.Logger
	notify func(Event)

	current atomic.Pointer[tls.Certificate]

	mu      sync.Mutex        // guards what follows; nobody is told anything under it
	seen    [sha256.Size]byte // digest of the pair in service
	latest  [sha256.Size]byte // digest of the pair on disk at the last look, zero if it could not be read
	failure failure           // why that is not in service
}

func openPair(files Pair, log *slog.Logger, notify func(Event)) (*pairFiles, error) {
	p := &pairFiles{files: files, log: log, notify: notify}
	if _, err := p.load(); err != nil {
		return nil, err
	}
	p.warn()
	return p, nil
}

// leaf is that of the pair in service.
func (p *pairFiles) leaf() *x509.Certificate { return p.current.Load().Leaf }

// paths are the files whose change matters.
func (p *pairFiles) paths() []string { return []string{p.files.Cert, p.files.Key} }

func (p *pairFiles) read() (certPEM, keyPEM []byte, err error) {
	certPEM, certErr := readPEM(p.files.Cert, "certificate file")
	keyPEM, keyErr := readPEM(p.files.Key, "key file")
	return certPEM, keyPEM, errors.Join(certErr, keyErr)
}

func digest(parts ...[]byte) [sha256.Size]byte { return sha256.Sum256(bytes.Join(parts, []byte{0})) }

// load puts the pair on disk in service if it is another one.
func (p *pairFiles) load() (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = [sha256.Size]byte{}
	certPEM, keyPEM, err := p.read()
	if err != nil {
		return false, err
	}
	if p.latest = digest(certPEM, keyPEM); p.latest != p.seen {
		cert, err := parsePair(p.files.Cert, p.files.Key, certPEM, keyPEM)
		if err != nil {
			return false, err
		}
		p.seen, changed = p.latest, true
		p.current.Store(cert)
	}
	p.failure = failure{}
	return changed, nil
}

// reload puts the pair on disk in service and tells whether it is good.
func (p *pairFiles) reload() error {
	changed, err := p.load()
	if err != nil || !changed {
		return err
	}
	leaf := p.leaf()
	p.log.Info("certificate reloaded", "file", p.files.Cert, "names", leafNames(leaf), "not_after", leaf.NotAfter)
	p.warn()
	p.notify(describe(leaf, SourceFile).event(EventReloaded, ""))
	return nil
}

// refresh looks at the files and puts a pair that changed in service.
func (p *pairFiles) refresh() (settled bool) {
	err := p.reload()
	if err == nil {
		return true
	}
	stands, told := p.fail(err)
	if stands && !told {
		p.log.Error("certificate not reloaded, the old one stays in service", "err", err, "old_not_after", p.leaf().NotAfter)
		p.notify(describe(p.leaf(), SourceFile).event(EventRefused, err.Error()))
	}
	return stands
}

func (p *pairFiles) fail(err error) (stands, told bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure.again(err, p.latest, time.Now())
}

func (p *pairFiles) describe() Certificate {
	c := describe(p.leaf(), SourceFile)
	c.File = p.files.Cert
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Err, c.ErrAt = p.failure.text, p.failure.at
	return c
}

// warn tells what is questionable about a pair that works; the warden tells when it ends.
func (p *pairFiles) warn() {
	leaf := p.leaf()
	if time.Now().Before(leaf.NotBefore) {
		p.log.Warn("certificate is not valid yet; check this machine's clock", "file", p.files.Cert, "not_before", leaf.NotBefore)
	}
	if len(leafNames(leaf)) == 0 {
		p.log.Warn("certificate names no host, clients will refuse it; renew it with subject alternative names", "file", p.files.Cert)
	}
	// A group that may read, as Debian's ssl-cert, is a choice; the rest is an oversight.
	if info, err := os.Stat(p.files.Key); err == nil && info.Mode().Perm()&0o027 != 0 {
		p.log.Warn("private key is open to others; run chmod "+fmt.Sprintf("%#o", info.Mode().Perm()&^0o027),
			"file", p.files.Key, "mode", info.Mode().Perm().String())
	}
}
