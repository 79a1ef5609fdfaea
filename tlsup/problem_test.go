package tlsup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// problem wraps what an authority says as the libraries do; about is the challenge that it is about.
func problem(kind, detail, about string) error {
	p := acme.Problem{Type: acme.ProblemTypeNamespace + kind, Detail: detail, Status: 403}
	if about != "" {
		p.Resource = acme.Authorization{Challenges: []acme.Challenge{{Type: "dns-account-01"}, {Type: about, Error: &acme.Problem{}}}}
	}
	return fmt.Errorf("[pop.example.org] Obtain: %w", fmt.Errorf("solving challenge: pop.example.org: %w (ca=https://ca.test/dir)", p))
}

// dialing wraps a network's error as an HTTP client does.
func dialing(err error) error {
	return fmt.Errorf("provisioning client: performing request: %w", &url.Error{Op: "Get", URL: "https://ca.test/dir", Err: err})
}

// The words are those of Let's Encrypt's boulder and of Go's net and crypto packages.
func TestExplain(t *testing.T) {
	certificate := func(err error) error { return dialing(&tls.CertificateVerificationError{Err: err}) }
	tests := map[string]struct {
		err  error
		want []string
	}{
		"port 80 filtered": {problem("connection", "192.0.2.7: Fetching http://pop.example.org/.well-known/acme-challenge/x: "+
			"Timeout during connect (likely firewall problem)", "http-01"), []string{"cannot reach pop.example.org", "likely firewall problem", "open port 80"}},
		"port 443 closed":  {problem("connection", "192.0.2.7: Connection refused", "tls-alpn-01"), []string{"192.0.2.7: Connection refused; open port 443"}},
		"port unknown":     {problem("connection", "Connection reset by peer", ""), []string{"open port 80 or 443"}},
		"no name":          {problem("dns", "DNS problem: NXDOMAIN looking up A for pop.example.org - check that a DNS record exists for this domain", "http-01"), []string{"does not find pop.example.org", "NXDOMAIN", "make an A or AAAA record"}},
		"no address":       {problem("dns", "no valid A records found for pop.example.org; no valid AAAA records found", "http-01"), []string{"no valid A records", "make an A or AAAA record"}},
		"no TXT":           {problem("dns", "DNS problem: NXDOMAIN looking up TXT for _acme-challenge.pop.example.org", "dns-01"), []string{"does not find the TXT record", "is delegated to"}},
		"wrong address":    {problem("unauthorized", "198.51.100.9: Invalid response from http://pop.example.org/.well-known/acme-challenge/x: 404", "http-01"), []string{"another machine answers", "198.51.100.9", "point its A and AAAA records here", "port 80"}},
		"wrong TXT":        {problem("unauthorized", `Incorrect TXT record "old" found at _acme-challenge.pop.example.org`, "dns-01"), []string{"another TXT record", "acme-dns-propagation"}},
		"no ALPN":          {problem("tls", "remote error: tls: no application protocol", "tls-alpn-01"), []string{"another server answers", "port 443"}},
		"account":          {problem("unauthorized", "Account is not valid, has status \"deactivated\"", ""), []string{"refuses the account", "acme-eab-key-file", "register a new one"}},
		"external account": {problem("externalAccountRequired", "no EAB", ""), []string{"acme-eab-kid and acme-eab-key-file"}},
		"CAA":              {problem("caa", "While processing CAA for pop.example.org: CAA record prevents issuance", "http-01"), []string{"CAA records of pop.example.org forbid", "add it to them"}},
		"identifier":       {problem("rejectedIdentifier", "The ACME server refuses to issue a certificate for this domain name, because it is forbidden by policy", ""), []string{"does not vouch for pop.example.org", "forbidden by policy; leave"}},
		"address":          {problem("unsupportedIdentifier", "Profile \"classic\" does not permit ip type identifiers", ""), []string{"does not permit ip type", "another authority"}},
		"rate limit":       {problem("rateLimited", "too many failed authorizations (5) for \"pop.example.org\" in the last 1h0m0s, retry after 2031-02-03 04:05:06 UTC: see https://letsencrypt.org", ""), []string{"nothing is to be mended", "again at 2031-02-03T04:05:06Z"}},
		"rate, no moment":  {problem("rateLimited", "Service busy; retry later.", ""), []string{"Service busy; retry later; nothing is to be mended", "later by itself"}},
		"profile":          {problem("invalidProfile", "profile \"x\" is not recognized", ""), []string{"acme-profile"}},
		"contact":          {problem("invalidContact", "contact email has forbidden domain \"example.com\"", ""), []string{"acme-email"}},
		"nonce":            {problem("badNonce", "JWS has an invalid anti-replay nonce", ""), []string{"tried again"}},
		"trouble":          {problem("serverInternal", "Error creating new order", ""), []string{"by itself"}},
		"terms":            {problem("userActionRequired", "Terms of service have changed", ""), []string{"waits for you"}},
		"forgotten":        {problem("accountDoesNotExist", "Account not found", ""), []string{"made anew"}},
		"key":              {problem("badCSR", "key type not allowed", ""), []string{"ECDSA P-256"}},
		"something new":    {problem("brandNew", "", ""), []string{"refuses pop.example.org: it does not say why"}},
		"several":          {fmt.Errorf("x: %w", acme.Problem{Type: acme.ProblemTypeCompound, Subproblems: []acme.Subproblem{{Problem: acme.Problem{Type: acme.ProblemTypeCAA, Detail: "forbidden"}}}}), []string{"CAA records", "forbidden"}},
		"many lines":       {problem("serverInternal", "one\r\ntwo\x1b[31m\u202ered", ""), []string{"one two[31mred"}},
		"root":             {certificate(x509.UnknownAuthorityError{}), []string{"https://ca.test/dir is not trusted", "unknown authority", "acme-roots"}},
		"host":             {certificate(x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"other.test"}}, Host: "ca.test"}), []string{"other.test", "set acme-ca to the name"}},
		"clock":            {certificate(x509.CertificateInvalidError{Reason: x509.Expired}), []string{"clock"}},
		"refused":          {dialing(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), []string{"https://ca.test/dir cannot be reached: connection refused", "acme-ca", "outwards"}},
		"no such host":     {dialing(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "ca.test"}}), []string{"lookup ca.test: no such host", "this machine's DNS"}},
		"not ACME":         {errors.New("provisioning client: HTTP 404: 404 page not found"), []string{"is no ACME directory", "404 page not found", "acme-ca"}},
		"privileged port":  {errors.New("presenting for challenge: presenting with embedded solver: could not start listener for challenge server at :80: listen tcp :80: bind: permission denied"), []string{"bind: permission denied", "CAP_NET_BIND_SERVICE"}},
		"no challenge":     {errors.New("solving challenges: pop.example.org: no solvers available for remaining challenges (configured=[http-01] offered=[dns-01])"), []string{"offered=[dns-01]", "set up DNS-01"}},
		"disk":             {errors.New("failed storage check: write /var/x: no space left on device - storage is probably misconfigured"), []string{"no space left on device", "free space"}},
		"endless":          {fmt.Errorf("authorization took too long: %w", context.DeadlineExceeded), []string{"does not come to an end", "tried again"}},
		"our own":          {fmt.Errorf("presenting for challenge: %w", told("DNS server x is %s", "tired")), []string{"DNS server x is tired"}},
		"anything":         {errors.New("surprise"), []string{"surprise"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := explain(test.err, orderFacts{name: "pop.example.org", directory: "https://ca.test/dir"})
			want(t, got, test.want...)
			if strings.ContainsAny(got, "\r\n\x1b\u202e") || strings.Contains(got, "urn:") || len(got) > 700 {
				t.Errorf("unreadable: %q", got)
			}
		})
	}
	if long := explain(problem("caa", strings.Repeat("ä", 10_000), ""), orderFacts{}); len([]rune(long)) > 600 {
		t.Errorf("%d characters", len([]rune(long)))
	}
}

func TestRetryAfter(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	for detail, want := range map[string]time.Time{
		"too many, retry after 2031-02-03 04:05:06 UTC: see": at,
		"retry after 2031-02-03T04:05:06Z":                   at,
		"retry after 2031-99-03 04:05:06 UTC":                {},
		"retry later":                                        {},
	} {
		if got := retryAfter(problem("rateLimited", detail, "")); !got.Equal(want) {
			t.Errorf("%q: %v", detail, got)
		}
	}
	if got := retryAfter(problem("caa", "retry after 2031-02-03 04:05:06 UTC", "")); !got.IsZero() {
		t.Errorf("no rate limit: %v", got)
	}
}
