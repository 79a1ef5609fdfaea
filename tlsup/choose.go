package tlsup

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
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
	if s.awaits(name) {
		return s.standIn()
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
	_, parent, deeper := strings.Cut(name, ".")
	if deeper && hello.ServerName != "" {
		if cert := s.fromFiles(hello, "*."+parent); cert != nil {
			return cert
		}
		if s.acme != nil {
			if cert := s.acme.certificate(hello, name); cert != nil {
				return cert
			}
		}
	}
	if a := s.local.Load(); a != nil && hello.ServerName != "" && a.covers(name) {
		return a.leaf.Load()
	}
	return nil
}

// fromFiles finds a pair of files for name that the client can use, else one that it says it cannot.
func (s *Source) fromFiles(hello *tls.ClientHelloInfo, name string) (found *tls.Certificate) {
	for _, p := range s.files {
		cert := p.current.Load()
		if !slices.Contains(p.names(), name) {
			continue
		}
		if hello.SupportsCertificate(cert) == nil {
			return cert
		}
		if found == nil {
			found = cert
		}
	}
	return found
}

// awaits reports whether name is ordered and not there yet.
func (s *Source) awaits(name string) bool { return s.acme != nil && s.acme.order(name) != nil }

// byDefault is for those who ask for nothing that is there.
func (s *Source) byDefault(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := canonical(s.config.DefaultName)
	if name == "" && len(s.files) > 0 {
		return s.firstOfFiles(hello), nil
	}
	if name == "" && s.acme != nil {
		name = s.acme.names[0]
	}
	named := *hello
	named.ServerName = name
	if cert := s.lookup(&named, name); cert != nil {
		return cert, nil
	}
	if s.acme == nil && !s.config.Local {
		return s.firstOfFiles(hello), nil
	}
	return s.standIn()
}

// firstOfFiles is the first pair, or another one of its name that suits the client better.
func (s *Source) firstOfFiles(hello *tls.ClientHelloInfo) *tls.Certificate {
	if names := s.files[0].names(); len(names) > 0 {
		return s.fromFiles(hello, names[0])
	}
	return s.files[0].current.Load()
}

// standIn is the local authority's, better than no handshake: a client that checks nothing is served, and one that
// does tells its user.
func (s *Source) standIn() (*tls.Certificate, error) {
	a, err := s.authority()
	if err != nil {
		s.log.Error("nothing can stand in for a certificate that is awaited", "err", err)
		return nil, errors.New("no certificate yet")
	}
	return a.leaf.Load(), nil
}

// announceStandIn tells loudly for which names the local authority stands in.
func (s *Source) announceStandIn() error {
	for _, c := range s.acme.certificates() {
		if !c.Awaited {
			continue
		}
		a, err := s.authority()
		if err != nil {
			return err
		}
		s.log.Warn("no certificate yet: until the authority gives one, clients get one of the local authority's, "+
			"which they do not trust", "name", strings.Join(c.Names, " "), "key", c.KeyType, "local_root", a.exported)
		s.config.Notify(c.event(EventFallback, "the local authority stands in until the certificate is there"))
	}
	return nil
}
