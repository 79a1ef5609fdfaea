package tlsup

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
)

const (
	// dnsTimeout bounds one question to a name server.
	dnsTimeout = 3 * time.Second
	// defaultPropagation is the longest wait until a record is seen.
	defaultPropagation = 2 * time.Minute
	// propagationPoll is the pause between two looks.
	propagationPoll = time.Second
	// cleanUpTime bounds how long a record is taken out when nobody waits for the order any more: the end waits for that.
	cleanUpTime = 10 * time.Second
	// maxAliases bounds a chain of CNAME records.
	maxAliases = 8
)

// DNS says how TXT records are put into the DNS to meet DNS-01: by dynamic updates to Server, or by Hook. The zero DNS
// does not meet it.
type DNS struct {
	// Server is the host:port that takes dynamic updates (RFC 2136).
	Server string
	// Zone is the zone to update; "" asks Server.
	Zone string
	// TSIGName is the name of the key that signs updates (RFC 8945), TSIGAlgorithm how, "" by hmac-sha256, and
	// TSIGKeyFile holds its secret in base64. Without a name updates are not signed.
	TSIGName, TSIGAlgorithm, TSIGKeyFile string
	// Hook is a program that is run as: Hook present|cleanup NAME VALUE, where NAME has no last dot. It has to end within
	// two minutes, with status 0 if the record is on its way. It excludes Server.
	Hook string
	// Propagation is the longest wait until a record is seen; 0 is two minutes.
	Propagation time.Duration
	// Resolvers are each asked (host:port) whether it is seen; none asks the zone's own servers.
	Resolvers []string
}

// dnsRecords is a way to put TXT records into the DNS and to take them out. Names have no last dot.
type dnsRecords interface {
	present(ctx context.Context, name, value string) error
	cleanup(ctx context.Context, name, value string) error
}

// dnsSolver meets DNS-01 (RFC 8555 section 8.4): it is an acmez.Solver, and an acmez.Waiter. The library's own solver
// would find zones through the public DNS only, and know no hook.
type dnsSolver struct {
	records     dnsRecords
	propagation time.Duration
	poll        time.Duration
	resolvers   []string // asked whether a record is seen; none: the zone's own servers
	system      []string // the machine's resolvers, asked for aliases and for a zone's servers
	port        string   // of a zone's own servers
}

// newDNSSolver returns nil if c names no way to reach the DNS.
func newDNSSolver(c DNS) (*dnsSolver, error) {
	records, err := newDNSRecords(c)
	if err != nil || records == nil {
		return nil, err
	}
	s := &dnsSolver{records: records, propagation: c.Propagation, poll: propagationPoll, resolvers: c.Resolvers, port: "53"}
	if s.propagation == 0 {
		s.propagation = defaultPropagation
	}
	if s.propagation < 0 {
		return nil, fmt.Errorf("%w: propagation %v is negative", ErrConfig, c.Propagation)
	}
	for _, r := range c.Resolvers {
		if err := checkServer(r, "resolver"); err != nil {
			return nil, err
		}
	}
	// Without the file there is no machine's resolver: the names are then taken as they are.
	if system, err := dns.ClientConfigFromFile("/etc/resolv.conf"); err == nil {
		for _, server := range system.Servers {
			s.system = append(s.system, net.JoinHostPort(server, system.Port))
		}
	}
	return s, nil
}

// newDNSRecords opens the one way that c names.
func newDNSRecords(c DNS) (dnsRecords, error) {
	switch {
	case c.Server != "" && c.Hook != "":
		return nil, fmt.Errorf("%w: DNS server %s and DNS hook %s exclude each other; keep one", ErrConfig, c.Server, c.Hook)
	case c.Hook != "":
		return newDNSHook(c.Hook)
	case c.Server != "":
		return newDNSUpdates(c)
	case c.Zone != "" || c.TSIGName != "" || c.TSIGKeyFile != "":
		return nil, fmt.Errorf("%w: a DNS zone or key is given, but no server that takes updates; name it", ErrConfig)
	}
	return nil, nil
}

func checkServer(addr, what string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("%w: DNS %s %q; write it as host:port", ErrConfig, what, addr)
	}
	return nil
}

// Present puts the record where the authority will look.
func (s *dnsSolver) Present(ctx context.Context, c acme.Challenge) error {
	return s.records.present(ctx, s.canonical(ctx, c.DNS01TXTRecordName()), c.DNS01KeyAuthorization())
}

// CleanUp takes the record out, also of an order that was given up: nobody else would.
func (s *dnsSolver) CleanUp(ctx context.Context, c acme.Challenge) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
		defer cancel()
	}
	return s.records.cleanup(ctx, s.canonical(ctx, c.DNS01TXTRecordName()), c.DNS01KeyAuthorization())
}

// Wait waits until the record is seen: an authority that looks too early refuses, and counts that.
func (s *dnsSolver) Wait(ctx context.Context, c acme.Challenge) error {
	waiting, cancel := context.WithTimeout(ctx, s.propagation)
	defer cancel()
	name, value := s.canonical(waiting, c.DNS01TXTRecordName()), c.DNS01KeyAuthorization()
	servers := s.resolvers
	if len(servers) == 0 {
		servers = s.nameServers(waiting, name)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(servers) == 0 {
		return told("the name servers of %s are not found; name the servers to ask in acme-dns-resolver", name)
	}
	for {
		missing := unseen(waiting, servers, name, value)
		if missing == "" {
			return nil
		}
		pause(waiting, s.poll)
		if err := ctx.Err(); err != nil {
			return err
		}
		if waiting.Err() != nil {
			return told("DNS record TXT %s is not seen at %s after %v; see that updates reach that server, "+
				"allow more time in acme-dns-propagation, or name the servers to ask in acme-dns-resolver", name, missing, s.propagation)
		}
	}
}

// unseen returns the first of the servers that does not have the record, "" if all have it.
func unseen(ctx context.Context, servers []string, name, value string) string {
	for _, server := range servers {
		answer, err := ask(ctx, server, name, dns.TypeTXT)
		if err != nil || !slices.ContainsFunc(answer, func(r dns.RR) bool {
			txt, ok := r.(*dns.TXT)
			return ok && strings.Join(txt.Txt, "") == value
		}) {
			return server
		}
	}
	return ""
}

// canonical follows aliases: many zones hand _acme-challenge over to one that takes updates. A name that cannot be asked
// for now is taken as it is.
func (s *dnsSolver) canonical(ctx context.Context, name string) string {
	for range maxAliases {
		answer := s.lookUp(ctx, name, dns.TypeCNAME)
		i := slices.IndexFunc(answer, func(r dns.RR) bool { return r.Header().Rrtype == dns.TypeCNAME })
		if i < 0 {
			break
		}
		name = strings.TrimSuffix(answer[i].(*dns.CNAME).Target, ".")
	}
	return name
}

// nameServers lists the addresses of the servers of the zone that name is in.
func (s *dnsSolver) nameServers(ctx context.Context, name string) (servers []string) {
	for zone := name; zone != "" && len(servers) == 0; _, zone, _ = strings.Cut(zone, ".") {
		for _, record := range s.lookUp(ctx, zone, dns.TypeNS) {
			if ns, ok := record.(*dns.NS); ok {
				servers = append(servers, s.addresses(ctx, ns.Ns)...)
			}
		}
	}
	return servers
}

// addresses lists where a name server is asked. One address of each is enough: they have the same zone.
func (s *dnsSolver) addresses(ctx context.Context, host string) []string {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, record := range s.lookUp(ctx, host, kind) {
			switch r := record.(type) {
			case *dns.A:
				return []string{net.JoinHostPort(r.A.String(), s.port)}
			case *dns.AAAA:
				return []string{net.JoinHostPort(r.AAAA.String(), s.port)}
			}
		}
	}
	return nil
}

// lookUp asks the resolvers in turn until one answers.
func (s *dnsSolver) lookUp(ctx context.Context, name string, kind uint16) []dns.RR {
	for _, server := range slices.Concat(s.resolvers, s.system) {
		if answer, err := ask(ctx, server, name, kind); err == nil {
			return answer
		}
	}
	return nil
}

// ask puts one question to one server, by TCP when the answer does not fit into a datagram.
func ask(ctx context.Context, server, name string, kind uint16) ([]dns.RR, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	q.SetEdns0(1232, false) // fits into any path (DNS flag day 2020)
	answer, _, err := (&dns.Client{Timeout: dnsTimeout}).ExchangeContext(ctx, q, server)
	if err == nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: dnsTimeout}).ExchangeContext(ctx, q, server)
	}
	if err != nil {
		return nil, err
	}
	return answer.Answer, nil
}
