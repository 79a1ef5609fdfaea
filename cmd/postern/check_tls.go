package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"postern/cmd/internal/config"
)

// sources are the settings of which each makes certificates.
var sources = []string{"acme-domain", "acme-on-demand", "tls-cert", "tls-local"}

// checkCertificates holds to at least one source of certificates, and to whole pairs.
func checkCertificates(c *config.Config, p *config.Problems) {
	if len(c.TLSCerts)+len(c.TLSKeys)+len(c.ACMEDomains)+len(c.ACMEOnDemand) == 0 && !c.TLSLocal {
		p.Add("--"+strings.Join(sources, ", --"), "no source of certificates",
			"give one: --acme-domain pop.example.org gets them by itself, --tls-cert and --tls-key read files, "+
				"--tls-local makes its own for a trial")
	}
	certs, keys := len(c.TLSCerts), len(c.TLSKeys)
	switch {
	case certs > 0 && keys == 0:
		p.Add(c.Origin("tls-cert"), "a certificate without its key", "give --tls-key as well; both may name the same file")
	case certs == 0 && keys > 0:
		p.Add(c.Origin("tls-key"), "a key without its certificate", "give --tls-cert as well; both may name the same file")
	case certs != keys:
		p.Add(c.Origin("tls-key"), fmt.Sprintf("%d certificates, but %d keys", certs, keys),
			"give one --tls-key for each --tls-cert, in the same order")
	}
	checkDefaultName(c, p)
}

// checkDefaultName tells of a default that no certificate will have, where that is known: what a file holds is not, and
// the local authority has every name.
func checkDefaultName(c *config.Config, p *config.Problems) {
	names := slices.Concat(c.ACMEDomains, c.ACMEOnDemand)
	if c.TLSDefaultName == "" || c.TLSLocal || len(c.TLSCerts) > 0 || len(names) == 0 {
		return
	}
	_, parent, _ := strings.Cut(c.TLSDefaultName, ".")
	for _, name := range names {
		if strings.EqualFold(name, c.TLSDefaultName) || strings.EqualFold(name, "*."+parent) {
			return
		}
	}
	p.Add(c.Origin("tls-default-name"), "no certificate will have the name "+c.TLSDefaultName,
		"choose one of "+strings.Join(names, ", ")+", or give it as --acme-domain too")
}

// checkACME looks for what an order would lack, and for settings without an order.
func checkACME(c *config.Config, p *config.Problems) {
	if len(c.ACMEDomains)+len(c.ACMEOnDemand) == 0 {
		idle(c, p, "without --acme-domain or --acme-on-demand", "give --acme-domain", "acme-email", "acme-ca", "acme-roots", "acme-eab-kid",
			"acme-eab-key-file", "acme-profile", "acme-rsa", "acme-http-port", "acme-tls-port")
	}
	for _, name := range c.ACMEOnDemand {
		if slices.Contains(c.ACMEDomains, name) {
			p.Add(c.Origin("acme-on-demand"), name+" is ordered at the start already, by --acme-domain", "leave it out of one of the two")
		}
	}
	both(c, p, "acme-eab-kid", c.ACMEEABKeyID, "acme-eab-key-file", c.ACMEEABKeyFile)
	checkChallenges(c, p)
}

// checkChallenges tells of each name that no challenge is left for.
func checkChallenges(c *config.Config, p *config.Problems) {
	ports, dns := c.ACMEHTTPPort > 0 || c.ACMETLSPort > 0, c.ACMEDNSServer != "" || c.ACMEDNSHook != ""
	if len(c.ACMEDomains)+len(c.ACMEOnDemand) > 0 && !ports && !dns {
		p.Add(c.Origin("acme-http-port"), "no challenge is left for the authority to ask", "keep --acme-http-port or --acme-tls-port, or give --acme-dns-server")
	}
	for _, name := range c.ACMEDomains {
		_, err := netip.ParseAddr(name)
		switch {
		case strings.HasPrefix(name, "*.") && !dns:
			p.Add(c.Origin("acme-domain"), name+" is a wildcard, which an authority gives by DNS only",
				"give --acme-dns-server or --acme-dns-hook, or list the names that it stands for")
		case err == nil && !ports && dns:
			p.Add(c.Origin("acme-domain"), name+" is an address, which an authority does not ask for in the DNS",
				"keep --acme-http-port or --acme-tls-port")
		}
	}
}

// checkDNS holds the settings of DNS-01 to one way of setting records, with all it needs.
func checkDNS(c *config.Config, p *config.Problems) {
	server, hook := c.ACMEDNSServer != "", c.ACMEDNSHook != ""
	if server && hook {
		p.Add(c.Origin("acme-dns-hook"), "two ways to set a record: --acme-dns-server and --acme-dns-hook", "keep one of them")
	}
	if len(c.ACMEDomains)+len(c.ACMEOnDemand) == 0 {
		idle(c, p, "without --acme-domain or --acme-on-demand", "give --acme-domain", "acme-dns-server", "acme-dns-hook")
	}
	if !server {
		idle(c, p, "without --acme-dns-server", "give --acme-dns-server", "acme-dns-zone", "acme-dns-tsig-name", "acme-dns-tsig-algorithm", "acme-dns-tsig-key-file")
	}
	if !server && !hook {
		idle(c, p, "without --acme-dns-server or --acme-dns-hook", "give one of them", "acme-dns-propagation", "acme-dns-resolver")
	}
	both(c, p, "acme-dns-tsig-name", c.ACMEDNSTSIGName, "acme-dns-tsig-key-file", c.ACMEDNSTSIGKeyFile)
	if server && c.ACMEDNSTSIGName == "" {
		idle(c, p, "without --acme-dns-tsig-name", "give the name and the secret of the key", "acme-dns-tsig-algorithm")
	}
}

// checkClients holds together what is asked of clients' certificates.
func checkClients(c *config.Config, p *config.Problems) {
	if c.TLSClientAuth != "off" {
		if c.TLSClientCA == "" {
			p.Add(c.Origin("tls-client-auth"), "no authority whose certificates clients may show", "give --tls-client-ca the PEM file of the authority that issues them")
		}
		return
	}
	idle(c, p, "while --tls-client-auth is off", "give --tls-client-auth request or require", "tls-client-ca")
	if c.AuthExternal == "match" {
		p.Add(c.Origin("auth-external"), "match compares the user with the client's certificate, and none is asked for",
			"give --tls-client-auth request, or require")
	}
}

// checkBackend holds together what is asked of the backend's TLS.
func checkBackend(c *config.Config, p *config.Problems) {
	if c.BackendTLS == "plain" {
		idle(c, p, "while --backend-tls is plain", "give --backend-tls stls or tls", "backend-verify", "backend-name", "backend-ca", "backend-pin", "backend-cert",
			"backend-key", "backend-tls-min")
		return
	}
	both(c, p, "backend-cert", c.BackendCert, "backend-key", c.BackendKey)
	if c.BackendVerify != "none" {
		return
	}
	for _, name := range []string{"backend-ca", "backend-pin"} {
		if c.IsSet(name) {
			p.Add(c.Origin(name), "is not looked at while --backend-verify is none", "leave --backend-verify out, or this")
		}
	}
}

// idle tells of each named setting that was made and does nothing.
func idle(c *config.Config, p *config.Problems, why, remedy string, names ...string) {
	for _, name := range names {
		if c.IsSet(name) {
			p.Add(c.Origin(name), "does nothing "+why, remedy+", or leave it out")
		}
	}
}

// both tells of a setting that needs another one.
func both(c *config.Config, p *config.Problems, name, value, other, its string) {
	if value != "" && its == "" {
		p.Add(c.Origin(name), "needs --"+other, "give both, or none")
	}
	if its != "" && value == "" {
		p.Add(c.Origin(other), "needs --"+name, "give both, or none")
	}
}

// checkFiles tells of every file that cannot be read, and of a hook that cannot be run.
func checkFiles(c *config.Config, p *config.Problems) {
	for _, path := range c.TLSCerts {
		checkFile(c, p, "tls-cert", path, "a PEM file")
	}
	for _, path := range c.TLSKeys {
		checkFile(c, p, "tls-key", path, "a PEM file")
	}
	checkFile(c, p, "tls-client-ca", c.TLSClientCA, "a PEM file")
	checkFile(c, p, "acme-roots", c.ACMERoots, "a PEM file")
	checkFile(c, p, "acme-eab-key-file", c.ACMEEABKeyFile, "a file with the key")
	checkFile(c, p, "acme-dns-tsig-key-file", c.ACMEDNSTSIGKeyFile, "a file with the secret")
	checkFile(c, p, "backend-ca", c.BackendCA, "a PEM file")
	checkFile(c, p, "backend-cert", c.BackendCert, "a PEM file")
	checkFile(c, p, "backend-key", c.BackendKey, "a PEM file")
	checkProgram(c, p, "acme-dns-hook", c.ACMEDNSHook)
}

func checkFile(c *config.Config, p *config.Problems, name, path, what string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		p.Add(c.Origin(name), err.Error(), "give the path of "+what+" that the user running postern may read")
		return
	}
	f.Close()
}

func checkProgram(c *config.Config, p *config.Problems, name, path string) {
	if path == "" {
		return
	}
	const execute = 0o1 // access(2): X_OK
	info, err := os.Stat(path)
	switch {
	case err != nil:
		p.Add(c.Origin(name), err.Error(), "give the path of a program that the user running postern may run")
	case !info.Mode().IsRegular():
		p.Add(c.Origin(name), path+" is not a program", "give the path of a program that the user running postern may run")
	case syscall.Access(path, execute) != nil:
		p.Add(c.Origin(name), path+" may not be run by this user", "chmod +x "+path)
	}
}
