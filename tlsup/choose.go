package tlsup

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// certificate answers a handshake: by the name that the client asks for, else by the address it came to, else with
// the default. Many mail clients send no name, or an alias: a certificate for another name tells their user more
// than a failed handshake.
func (s *Source) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.acme != nil && slices.Contains(hello.SupportedProtos, ProtocolACME) {
		return s.acme.challenge(hello)
	}
	name := canonical(hello.ServerName)
	if name == "" {
		name = localAddress(hello.Conn)
	}
	if cert := s.lookup(hello, name); cert != nil {
		return cert, nil
	}
	if s.acme != nil {
		if o := s.acme.order(name); o != nil {
			return s.standInFor(o.name)
		}
	}
	return s.byDefault(hello)
}

func localAddress(conn net.Conn) string {
	if conn == nil {
		return ""
	}
	ap, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().WithZone("").String()
}

// lookup finds a certificate of that very name, before one by a wildcard, nil if there is none: files first, then ACME,
// then the local authority.
func (s *Source) lookup(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	if name == "" {
		return nil
	}
	if cert := s.fromFiles(hello, name); cert != nil {
		return cert
	}
	if s.acme != nil && s.acme.orders[name] != nil {
		if cert := s.acme.certificate(hello, name); cert != nil {
			return cert
		}
	}
	if hello.ServerName == "" { // name is an address that nobody asked for
		return nil
	}
	if cert := s.byWildcard(hello, name); cert != nil {
		return cert
	}
	if a := s.local.Load(); a != nil && a.covers(name) {
		return a.leaf.Load()
	}
	return nil
}

func (s *Source) byWildcard(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	_, parent, deeper := strings.Cut(name, ".")
	if !deeper {
		return nil
	}
	if cert := s.fromFiles(hello, "*."+parent); cert != nil {
		return cert
	}
	if s.acme != nil {
		return s.acme.certificate(hello, name)
	}
	return nil
}

// fromFiles finds the pair of files of that very name that suits the client best, the first of several; nil if there is
// none.
func (s *Source) fromFiles(hello *tls.ClientHelloInfo, name string) (found *tls.Certificate) {
	best := -1
	for _, p := range s.files {
		cert := p.current.Load()
		if !names(cert.Leaf, name) {
			continue
		}
		if fit := fitness(hello, cert, time.Now()); fit > best {
			found, best = cert, fit
		}
	}
	return found
}

// names reports whether that very name, which may be a wildcard or an address, is among those of leaf.
func names(leaf *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(leaf.IPAddresses, ip.Equal)
	}
	return slices.ContainsFunc(leaf.DNSNames, func(s string) bool { return strings.EqualFold(s, name) })
}

// fitness grades a certificate: the client has to know its kind of key, then it should be in its time, then ECDSA
// spares both sides work.
func fitness(hello *tls.ClientHelloInfo, cert *tls.Certificate, now time.Time) (grade int) {
	if hello.SupportsCertificate(cert) == nil {
		grade += 4
	}
	if !now.Before(cert.Leaf.NotBefore) && !now.After(cert.Leaf.NotAfter) {
		grade += 2
	}
	if _, slow := cert.Leaf.PublicKey.(*rsa.PublicKey); !slow {
		grade++
	}
	return grade
}

// byDefault is for those who ask for nothing that is there.
func (s *Source) byDefault(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	named := *hello
	named.ServerName = s.defaultName()
	if cert := s.lookup(&named, named.ServerName); cert != nil {
		return cert, nil
	}
	if len(s.files) > 0 {
		return s.files[0].current.Load(), nil
	}
	return s.standIn()
}

// defaultName is the name to choose by when a client's own leads nowhere, "" if that is nobody's.
func (s *Source) defaultName() string {
	switch {
	case s.config.DefaultName != "":
		return canonical(s.config.DefaultName)
	case len(s.files) > 0:
		if all := leafNames(s.files[0].leaf()); len(all) > 0 {
			return canonical(all[0])
		}
	case s.acme != nil:
		// One that is ordered on demand only if that has been: who asks for nothing is not to start it.
		for _, name := range s.acme.names {
			if s.acme.orders[name].started.Load() {
				return name
			}
		}
	}
	return ""
}

// checkDefault refuses a default that no certificate has.
func (s *Source) checkDefault() error {
	name := canonical(s.config.DefaultName)
	named := &tls.ClientHelloInfo{ServerName: name}
	if name == "" || s.config.Local || s.acme != nil && s.acme.order(name) != nil || s.lookup(named, name) != nil {
		return nil
	}
	var all []string
	for _, c := range s.Certificates() {
		all = append(all, c.Names...)
	}
	return fmt.Errorf("%w: no certificate has the default name %.253q; choose one of %s", ErrConfig, name,
		strings.Join(all[:min(len(all), maxNamesTold)], ", "))
}

// standIn is the local authority's, better than no handshake: a client that checks nothing is served, and one that
// does tells its user.
func (s *Source) standIn() (*tls.Certificate, error) {
	if a := s.local.Load(); a != nil {
		return a.leaf.Load(), nil
	}
	return nil, errors.New("no certificate yet")
}

// standInFor is standIn for a name that is ordered and not there yet.
func (s *Source) standInFor(name string) (*tls.Certificate, error) {
	s.announce(name)
	return s.standIn()
}

// announce tells loudly, once, that the local authority stands in for a name.
func (s *Source) announce(name string) {
	if _, again := s.announced.LoadOrStore(name, true); again {
		return
	}
	s.log.Warn("no certificate yet: until the authority gives one, clients get one of the local authority's, "+
		"which they do not trust", "name", name, "local_root", s.RootFile())
	awaited := Certificate{Names: []string{name}, Source: SourceACME}
	s.config.Notify(awaited.event(EventFallback, "the local authority stands in until the certificate is there"))
}

// standInForAll makes the local authority if any name that is ordered, or may be on demand, has no certificate.
func (s *Source) standInForAll() error {
	for _, name := range s.acme.names {
		o := s.acme.orders[name]
		if _, there := o.keepers[0].current(); there {
			continue
		}
		if _, err := s.authority(); err != nil {
			return err
		}
		if o.started.Load() {
			s.announce(name)
		}
	}
	return nil
}
