package tlsup

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is how long a pair of files goes unlooked at: one handshake in that time pays for a look.
const checkEvery = 2 * time.Second

// pairFiles is a provider that reads a pair of files again when they change. It looks at them during
// handshakes, so that nothing runs in the background.
type pairFiles struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]
	looked  atomic.Int64 // when the files were last looked at, in Unix nanoseconds

	mu      sync.Mutex // held by the one handshake that looks
	seen    [2]os.FileInfo
	failure string // why the pair on disk is not in service, "" if it is
}

func openFiles(c Config) (*pairFiles, error) {
	p := &pairFiles{certFile: c.CertFile, keyFile: c.KeyFile, log: c.Logger, now: time.Now}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.loadLocked(); err != nil {
		return nil, err
	}
	p.looked.Store(p.now().UnixNano())
	return p, nil
}

func (p *pairFiles) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.refresh()
	return p.current.Load(), nil
}

func (p *pairFiles) inService() []Certificate {
	p.refresh()
	leaf := p.current.Load().Leaf
	return []Certificate{{Names: leafNames(leaf), NotAfter: leaf.NotAfter, Source: SourceFile}}
}

func (p *pairFiles) close() {}

// refresh reads the pair again if it is time to look and it changed. Whoever comes while another looks
// is served with what is current: no handshake waits for another's disk.
func (p *pairFiles) refresh() {
	now := p.now()
	if now.Sub(time.Unix(0, p.looked.Load())) < checkEvery || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	p.looked.Store(now.UnixNano())
	// A pair that failed is tried again though it looks the same: its permissions may have been mended.
	if p.failure == "" && !p.changedLocked() {
		return
	}
	err := p.loadLocked()
	switch {
	case err == nil:
		p.failure = ""
		p.log.Info("certificate reloaded", "file", p.certFile, "names", leafNames(p.current.Load().Leaf),
			"not_after", p.current.Load().Leaf.NotAfter)
	case err.Error() != p.failure:
		p.failure = err.Error()
		p.log.Error("certificate not reloaded, the old one stays in service", "err", err,
			"old_not_after", p.current.Load().Leaf.NotAfter)
	}
}

// changedLocked compares the files with those that were read last.
func (p *pairFiles) changedLocked() bool {
	for i, path := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(path)
		old := p.seen[i]
		if err != nil || old == nil || !os.SameFile(info, old) ||
			info.Size() != old.Size() || !info.ModTime().Equal(old.ModTime()) {
			return true
		}
	}
	return false
}

// loadLocked reads the pair and puts it in service. What the files looked like is noted first: a change
// during the reading is seen as one the next time.
func (p *pairFiles) loadLocked() error {
	p.seen[0], _ = os.Stat(p.certFile)
	p.seen[1], _ = os.Stat(p.keyFile)
	certPEM, certErr := readPEM(p.certFile, "certificate file")
	keyPEM, keyErr := readPEM(p.keyFile, "key file")
	if err := errors.Join(certErr, keyErr); err != nil {
		return err
	}
	cert, err := parsePair(p.certFile, p.keyFile, certPEM, keyPEM)
	if err != nil {
		return err
	}
	p.warnLocked(cert)
	p.current.Store(cert)
	return nil
}

// warnLocked tells what is questionable about a pair that works.
func (p *pairFiles) warnLocked(cert *tls.Certificate) {
	leaf, now := cert.Leaf, p.now()
	if now.After(leaf.NotAfter) {
		p.log.Warn("certificate has expired, clients will refuse it; renew it", "file", p.certFile, "not_after", leaf.NotAfter)
	}
	if now.Before(leaf.NotBefore) {
		p.log.Warn("certificate is not valid yet; check this machine's clock", "file", p.certFile, "not_before", leaf.NotBefore)
	}
	if len(leafNames(leaf)) == 0 {
		p.log.Warn("certificate names no host, clients will refuse it; renew it with subject alternative names", "file", p.certFile)
	}
	// A group that may read, as Debian's ssl-cert, is a choice; the rest is an oversight.
	if info := p.seen[1]; info != nil && info.Mode().Perm()&0o027 != 0 {
		p.log.Warn("private key is open to others; run chmod "+fmt.Sprintf("%#o", info.Mode().Perm()&^0o027),
			"file", p.keyFile, "mode", info.Mode().Perm().String())
	}
}
