package tlsup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// What cannot work is refused before anything is ordered, with what is wrong and how to mend it.
func TestACMEMisconfigured(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	junk, secret := file("junk", "not base64!"), file("secret", "c2VjcmV0")
	many := slices.Repeat([]string{"a.example.org"}, maxDomains+1)
	tests := map[string]struct {
		change func(*ACME)
		want   []string
	}{
		"nothing wrong":     {func(*ACME) {}, nil},
		"wildcard by port":  {func(c *ACME) { c.Domains = []string{"*.example.org"} }, []string{"*.example.org", "needs DNS-01", "acme-dns-server"}},
		"wildcard inside":   {func(c *ACME) { c.Domains = []string{"a.*.example.org"} }, []string{"a.*.example.org", "no host name"}},
		"private address":   {func(c *ACME) { c.Domains = []string{"10.0.0.1"} }, []string{"10.0.0.1", "is private"}},
		"address by DNS":    {func(c *ACME) { c.Domains, c.HTTPPort, c.TLSPort = []string{"192.0.2.1"}, -1, -1 }, []string{"192.0.2.1", "cannot be validated by DNS-01"}},
		"url":               {func(c *ACME) { c.Domains = []string{"https://pop.example.org"} }, []string{"no host name"}},
		"other script":      {func(c *ACME) { c.Domains = []string{"pöp.example.org"} }, []string{"xn--"}},
		"private name":      {func(c *ACME) { c.Domains = []string{"pop.local"} }, []string{"pop.local", "private ACME directory"}},
		"too many":          {func(c *ACME) { c.Domains = many }, []string{"at most 100"}},
		"address on demand": {func(c *ACME) { c.OnDemand = []string{"192.0.2.1"} }, []string{"192.0.2.1", "on-demand", "host names only"}},
		"mail address":      {func(c *ACME) { c.Email = "ops" }, []string{"user@host"}},
		"directory":         {func(c *ACME) { c.Directory = "http://ca.test/" }, []string{"http://ca.test/", "https://"}},
		"no challenge":      {func(c *ACME) { c.HTTPPort, c.TLSPort = -1, -1 }, []string{"leave one in"}},
		"port":              {func(c *ACME) { c.HTTPPort = 65536 }, []string{"65536", "65535"}},
		"roots missing":     {func(c *ACME) { c.Roots = dir + "/none" }, []string{"does not exist"}},
		"roots empty":       {func(c *ACME) { c.Roots = junk }, []string{junk, "no PEM certificate"}},
		"account, no key":   {func(c *ACME) { c.EABKeyID = "kid" }, []string{"kid", "name the file"}},
		"account, no id":    {func(c *ACME) { c.EABKeyFile = secret }, []string{secret, "give the id"}},
		"account, junk":     {func(c *ACME) { c.EABKeyID, c.EABKeyFile = "kid", junk }, []string{junk, "base64url"}},
		"two ways":          {func(c *ACME) { c.DNS.Server, c.DNS.Hook = "ns.test:53", "/bin/true" }, []string{"exclude each other"}},
		"server, no port":   {func(c *ACME) { c.DNS.Server = "ns.test" }, []string{"ns.test", "host:port"}},
		"key, no server":    {func(c *ACME) { c.DNS.TSIGName, c.DNS.TSIGKeyFile = "k", secret }, []string{"no server"}},
		"key, no file":      {func(c *ACME) { c.DNS.Server, c.DNS.TSIGName = "ns.test:53", "k" }, []string{"base64 secret"}},
		"key, no name":      {func(c *ACME) { c.DNS.Server, c.DNS.TSIGKeyFile = "ns.test:53", secret }, []string{"key's name"}},
		"key, junk": {func(c *ACME) { c.DNS = DNS{Server: "ns.test:53", TSIGName: "k", TSIGKeyFile: junk} },
			[]string{junk, "base64"}},
		"algorithm": {func(c *ACME) {
			c.DNS = DNS{Server: "ns.test:53", TSIGName: "k", TSIGKeyFile: secret, TSIGAlgorithm: "md5"}
		},
			[]string{"md5", "hmac-sha256"}},
		"zone":        {func(c *ACME) { c.DNS.Server, c.DNS.Zone = "ns.test:53", "a b" }, []string{"a b"}},
		"resolver":    {func(c *ACME) { c.DNS.Hook, c.DNS.Resolvers = "/bin/true", []string{"9.9.9.9"} }, []string{"resolver", "host:port"}},
		"no hook":     {func(c *ACME) { c.DNS.Hook = dir + "/none" }, []string{"none", "may run"}},
		"hook mode":   {func(c *ACME) { c.DNS.Hook = secret }, []string{secret, "may run"}},
		"propagation": {func(c *ACME) { c.DNS.Hook, c.DNS.Propagation = "/bin/true", -time.Second }, []string{"negative"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := ACME{Domains: []string{"pop.example.org"}}
			test.change(&c)
			_, err := newACMEIssuers(c)
			if err == nil {
				_, _, err = acmeNames(c)
			}
			if (err == nil) != (test.want == nil) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				want(t, err.Error(), test.want...)
				if !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "not base64!") {
					t.Errorf("error %v", err)
				}
			}
		})
	}
}

// Names come out in one form, each once.
func TestACMENames(t *testing.T) {
	domains, onDemand, err := acmeNames(ACME{Directory: "https://ca.test/dir", DNS: DNS{Hook: "/bin/true"},
		Domains:  []string{" Pop.Example.Org. ", "pop.example.org", "*.Example.Org", "2001:DB8:0::1", "::ffff:192.0.2.1"},
		OnDemand: []string{"pop.example.org", "b.example.org", "B.example.org."}})
	if err != nil || !slices.Equal(domains, []string{"pop.example.org", "*.example.org", "2001:db8::1", "192.0.2.1"}) ||
		!slices.Equal(onDemand, []string{"b.example.org"}) {
		t.Errorf("domains %q, on demand %q, error %v", domains, onDemand, err)
	}
}

// Let's Encrypt certifies addresses only in a profile that has to be asked for; what was asked for by name stays.
func TestACMEIssuers(t *testing.T) {
	tests := []struct {
		c       ACME
		name    string
		profile string
		dns     bool
	}{
		{ACME{}, "pop.example.org", "", false},
		{ACME{}, "192.0.2.1", "shortlived", false},
		{ACME{Profile: "tlsserver"}, "192.0.2.1", "tlsserver", false},
		{ACME{Directory: "https://ca.test/dir"}, "192.0.2.1", "", false},
		{ACME{DNS: DNS{Hook: "/bin/true"}}, "192.0.2.1", "shortlived", false},
		{ACME{DNS: DNS{Hook: "/bin/true"}, Profile: "tlsserver"}, "pop.example.org", "tlsserver", true},
	}
	for _, test := range tests {
		issuers, err := newACMEIssuers(test.c)
		if err != nil {
			t.Fatal(err)
		}
		got := issuers.of(test.name)
		if got.Profile != test.profile || (got.DNS01Solver != nil) != test.dns || !got.Agreed {
			t.Errorf("%+v, %s: profile %q, by DNS %v", test.c, test.name, got.Profile, got.DNS01Solver != nil)
		}
		if test.c.Directory == "" && got.CA != certmagic.LetsEncryptProductionCA {
			t.Errorf("authority %s", got.CA)
		}
	}
}
