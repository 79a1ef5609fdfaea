package tlsup

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
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

	mu       sync.Mutex        // guards what follows
	seen     [sha256.Size]byte // digest of the pair in service
	broken   [sha256.Size]byte // digest of the pair that failed
	failure  string            // why the pair on disk is not in service, "" if it is
	failedAt time.Time         // when that was noticed
	told     bool              // failure was reported
}

func openPair(files Pair, log *slog.Logger, notify func(Event)) (*pairFiles, error) {
	p := &pairFiles{files: files, log: log, notify: notify}
	certPEM, keyPEM, err := p.read()
	if err != nil {
		return nil, err
	}
	cert, err := parsePair(files.Cert, files.Key, certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	p.seen = digest(certPEM, keyPEM)
	p.current.Store(cert)
	p.warn(cert)
	return p, nil
}

func (p *pairFiles) names() []string { return leafNames(p.current.Load().Leaf) }

// paths are the files whose change matters.
func (p *pairFiles) paths() []string { return []string{p.files.Cert, p.files.Key} }

func (p *pairFiles) read() (certPEM, keyPEM []byte, err error) {
	certPEM, certErr := readPEM(p.files.Cert, "certificate file")
	keyPEM, keyErr := readPEM(p.files.Key, "key file")
	return certPEM, keyPEM, errors.Join(certErr, keyErr)
}

func digest(parts ...[]byte) [sha256.Size]byte { return sha256.Sum256(bytes.Join(parts, []byte{0})) }

// refresh looks at the files and puts a pair that changed in service. A failure is told only when it stands at a
// second look: files are replaced one after the other.
func (p *pairFiles) refresh() (settled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	broken := p.broken
	changed, err := p.loadLocked()
	switch {
	case err != nil && (p.failure != err.Error() || p.broken != broken):
		p.failure, p.failedAt, p.told = err.Error(), time.Now(), false
		return false
	case err != nil && !p.told && time.Since(p.failedAt) < graceOfHalfAPair:
		return false
	case err != nil && !p.told:
		p.told = true
		old := p.current.Load().Leaf
		p.log.Error("certificate not reloaded, the old one stays in service", "err", err, "old_not_after", old.NotAfter)
		p.notify(describe(old, SourceFile).event(EventRefused, err.Error()))
	case err == nil && (changed || p.failure != ""):
		p.failure, p.failedAt = "", time.Time{}
		if changed {
			p.reloadedLocked()
		}
	}
	return true
}

// reload reads the pair now and tells whether it is good.
func (p *pairFiles) reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed, err := p.loadLocked()
	if err == nil && changed {
		p.reloadedLocked()
	}
	return err
}

func (p *pairFiles) reloadedLocked() {
	leaf := p.current.Load().Leaf
	p.log.Info("certificate reloaded", "file", p.files.Cert, "names", leafNames(leaf), "not_after", leaf.NotAfter)
	p.notify(describe(leaf, SourceFile).event(EventReloaded, ""))
}

// loadLocked puts the pair on disk in service if it is another one.
func (p *pairFiles) loadLocked() (changed bool, err error) {
	certPEM, keyPEM, err := p.read()
	if err != nil {
		return false, err
	}
	sum := digest(certPEM, keyPEM)
	if sum == p.seen {
		return false, nil
	}
	cert, err := parsePair(p.files.Cert, p.files.Key, certPEM, keyPEM)
	if err != nil {
		p.broken = sum
		return false, err
	}
	p.seen = sum
	p.current.Store(cert)
	p.warn(cert)
	return true, nil
}

func (p *pairFiles) describe() Certificate {
	c := describe(p.current.Load().Leaf, SourceFile)
	c.File = p.files.Cert
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Err, c.ErrAt = p.failure, p.failedAt
	return c
}

// warn tells what is questionable about a pair that works; the warden tells when it ends.
func (p *pairFiles) warn(cert *tls.Certificate) {
	leaf := cert.Leaf
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

// watched is something on disk that is to be noticed when it changes.
type watched interface {
	paths() []string
	// refresh takes what is on disk, and reports whether it need not be looked at again soon.
	refresh() (settled bool)
}

func (s *Source) watched() (all []watched) {
	for _, p := range s.files {
		all = append(all, p)
	}
	if s.clients != nil {
		all = append(all, s.clients)
	}
	return slices.Clip(all)
}
