package tlsup

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// updateTimeout bounds one update: a server answers when the change is on its disk.
	updateTimeout = 15 * time.Second
	// recordTTL is what resolvers may keep a record for, in seconds.
	recordTTL = 30
	// tsigFudge is how far clocks may differ, in seconds (RFC 8945 section 10).
	tsigFudge = 300
)

// tsigAlgorithms are those of RFC 8945 section 6 that are not broken.
var tsigAlgorithms = []string{"hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"}

// dnsUpdates changes records by dynamic update (RFC 2136), signed with TSIG (RFC 8945) if there is a key.
type dnsUpdates struct {
	server    string // host:port
	zone      string // "": the server is asked
	keyName   string // canonical; "": updates are not signed
	algorithm string
	secret    map[string]string // base64, by keyName
}

func newDNSUpdates(c DNS) (*dnsUpdates, error) {
	if err := checkServer(c.Server, "server"); err != nil {
		return nil, err
	}
	u := &dnsUpdates{server: c.Server, zone: strings.ToLower(strings.TrimSuffix(c.Zone, "."))}
	if u.zone != "" && !isHostName(u.zone) {
		return nil, fmt.Errorf("%w: DNS zone %q is no domain name", ErrConfig, c.Zone)
	}
	switch {
	case c.TSIGName == "" && c.TSIGKeyFile == "":
		return u, nil
	case c.TSIGName == "":
		return nil, fmt.Errorf("%w: TSIG key file %s without the key's name; give the name that the server knows it by", ErrConfig, c.TSIGKeyFile)
	case c.TSIGKeyFile == "":
		return nil, fmt.Errorf("%w: TSIG key %s without its file; name the file that holds the base64 secret", ErrConfig, c.TSIGName)
	}
	u.algorithm = strings.ToLower(strings.TrimSuffix(c.TSIGAlgorithm, "."))
	if u.algorithm == "" {
		u.algorithm = "hmac-sha256"
	}
	if !slices.Contains(tsigAlgorithms, u.algorithm) {
		return nil, fmt.Errorf("%w: TSIG algorithm %q; use one of %s", ErrConfig, c.TSIGAlgorithm, strings.Join(tsigAlgorithms, ", "))
	}
	u.algorithm += "."
	u.keyName = dns.CanonicalName(c.TSIGName)
	secret, err := readSecret(c.TSIGKeyFile, "TSIG key file")
	if err != nil {
		return nil, err
	}
	if key, err := base64.StdEncoding.DecodeString(secret); err != nil || len(key) == 0 {
		return nil, fmt.Errorf("%w: TSIG key file %s; write the key's secret into it in base64, and nothing else", ErrConfig, c.TSIGKeyFile)
	}
	u.secret = map[string]string{u.keyName: secret}
	return u, nil
}

// readSecret reads a file that holds one line.
func readSecret(path, what string) (string, error) {
	b, err := readPEM(path, what)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

func (u *dnsUpdates) present(ctx context.Context, name, value string) error {
	return u.update(ctx, name, value, (*dns.Msg).Insert)
}

func (u *dnsUpdates) cleanup(ctx context.Context, name, value string) error {
	return u.update(ctx, name, value, (*dns.Msg).Remove)
}

// update changes the one record; others of the same name belong to other orders.
func (u *dnsUpdates) update(ctx context.Context, name, value string, change func(*dns.Msg, []dns.RR)) error {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	zone := u.zone
	if zone == "" {
		var err error
		if zone, err = u.findZone(ctx, name); err != nil {
			return err
		}
	}
	m := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
	change(m, []dns.RR{&dns.TXT{Txt: []string{value},
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: recordTTL}}})
	answer, err := u.exchange(ctx, m)
	if err != nil {
		return u.failure(err)
	}
	return u.refusal(answer, zone, name)
}

// exchange sends by TCP: nobody can forge an answer that is not signed without being on the way.
func (u *dnsUpdates) exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp", Timeout: updateTimeout, TsigSecret: u.secret}
	if u.keyName != "" {
		m.SetTsig(u.keyName, u.algorithm, tsigFudge, time.Now().Unix())
	}
	answer, _, err := client.ExchangeContext(ctx, m, u.server)
	// The library takes NOTAUTH, which a server in charge of other zones answers, for a signature that failed.
	if answer != nil && errors.Is(err, dns.ErrAuth) {
		err = nil
	}
	return answer, err
}

// findZone asks the server which of its zones name is in.
func (u *dnsUpdates) findZone(ctx context.Context, name string) (string, error) {
	client := &dns.Client{Net: "tcp", Timeout: updateTimeout}
	answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeSOA), u.server)
	if err != nil {
		return "", u.failure(err)
	}
	for _, record := range slices.Concat(answer.Answer, answer.Ns) {
		if soa, ok := record.(*dns.SOA); ok {
			return strings.TrimSuffix(soa.Hdr.Name, "."), nil
		}
	}
	return "", told("DNS server %s has no zone for %s (%s); name the zone's primary server in acme-dns-server, or the zone in acme-dns-zone",
		u.server, name, dns.RcodeToString[answer.Rcode])
}

func (u *dnsUpdates) failure(err error) error {
	switch {
	case errors.Is(err, dns.ErrTime):
		return told("DNS server %s has another time; set this machine's clock or the server's", u.server)
	case errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrAuth), errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg):
		return told("DNS server %s does not accept TSIG key %s; check acme-dns-tsig-name, acme-dns-tsig-algorithm and the secret",
			u.server, strings.TrimSuffix(u.keyName, "."))
	}
	return told("DNS server %s: %w; see that it is there, and takes updates by TCP from this machine", u.server, err)
}

// refusal turns a server's answer into an error (RFC 2136 section 2.2, RFC 8945 section 5.3), nil if it did as asked.
func (u *dnsUpdates) refusal(answer *dns.Msg, zone, name string) error {
	switch answer.Rcode {
	case dns.RcodeSuccess:
		if u.keyName != "" && answer.IsTsig() == nil {
			return told("DNS server %s does not sign its answers; name a server that does TSIG", u.server)
		}
		return nil
	case dns.RcodeRefused:
		return told("DNS server %s refuses to change %s; let key %q change TXT records there (in named: update-policy)",
			u.server, name, strings.TrimSuffix(u.keyName, "."))
	case dns.RcodeNotZone, dns.RcodeNotAuth:
		if signed := answer.IsTsig(); signed != nil && signed.Error == dns.RcodeBadTime {
			return u.failure(dns.ErrTime)
		} else if signed != nil && signed.Error != dns.RcodeSuccess {
			return u.failure(dns.ErrAuth)
		}
		return told("DNS server %s is not in charge of zone %s; check acme-dns-server and acme-dns-zone", u.server, zone)
	}
	return told("DNS server %s answers %s to the change of %s; its log says why", u.server, dns.RcodeToString[answer.Rcode], name)
}
