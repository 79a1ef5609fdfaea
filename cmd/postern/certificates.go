package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"postern/cmd/internal/config"
	"postern/cmd/internal/show"
	"postern/tlsup"
	"postern/web"
)

// openCertificates opens every source of certificates, and says how TLS is spoken on both legs.
func (d *daemon) openCertificates(ctx context.Context) (err error) {
	d.turns = newTurns(d.audit, d.log)
	if d.certs, err = tlsup.New(ctx, d.certificates()); err != nil {
		return mistake("open certificates", err)
	}
	if d.config.BackendTLS != "plain" {
		if d.behind, err = d.upstream().TLSConfig(); err != nil {
			return mistake("TLS to the backend", err)
		}
	}
	for _, warning := range warnings(d.config) {
		d.log.Warn(warning)
	}
	return nil
}

// mistake tells an error of the settings from one of the machine.
func mistake(what string, err error) error {
	if errors.Is(err, tlsup.ErrConfig) {
		return usageError{err}
	}
	return wrap(what, err)
}

func (d *daemon) certificates() tlsup.Config {
	c := d.config
	t := tlsup.Config{ACME: acme(c), Local: c.TLSLocal, DefaultName: c.TLSDefaultName, Policy: tlsup.Policy(c.TLSPolicy),
		Clients: tlsup.ClientAuth{Mode: tlsup.ClientMode(c.TLSClientAuth), CAFile: c.TLSClientCA},
		DataDir: c.DataDir, Logger: d.log, Notify: d.turns.add}
	for i, cert := range c.TLSCerts {
		t.Files = append(t.Files, tlsup.Pair{Cert: cert, Key: c.TLSKeys[i]}) // check counted them
	}
	for _, l := range d.bound {
		if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil && !net.ParseIP(host).IsUnspecified() {
			t.LocalNames = append(t.LocalNames, host)
		}
	}
	return t
}

func acme(c *config.Config) tlsup.ACME {
	return tlsup.ACME{Domains: c.ACMEDomains, OnDemand: c.ACMEOnDemand, Email: c.ACMEEmail, Directory: c.ACMECA, Roots: c.ACMERoots,
		EABKeyID: c.ACMEEABKeyID, EABKeyFile: c.ACMEEABKeyFile, Profile: c.ACMEProfile, RSA: c.ACMERSA,
		HTTPPort: orNone(c.ACMEHTTPPort), TLSPort: orNone(c.ACMETLSPort),
		DNS: tlsup.DNS{Server: c.ACMEDNSServer, Zone: c.ACMEDNSZone, TSIGName: c.ACMEDNSTSIGName, TSIGAlgorithm: c.ACMEDNSTSIGAlgorithm,
			TSIGKeyFile: c.ACMEDNSTSIGKeyFile, Hook: c.ACMEDNSHook, Propagation: c.ACMEDNSPropagation, Resolvers: c.ACMEDNSResolvers}}
}

// orNone turns the setting's 0, for no such challenge, into tlsup's.
func orNone(port int) int {
	if port == 0 {
		return -1
	}
	return port
}

func (d *daemon) upstream() tlsup.Upstream {
	c := d.config
	host, _, _ := net.SplitHostPort(c.Backend) // check saw that it can be split
	return tlsup.Upstream{ServerName: cmp.Or(c.BackendName, host), Verify: tlsup.Verification(c.BackendVerify), CAFile: c.BackendCA,
		Pins: c.BackendPins, CertFile: c.BackendCert, KeyFile: c.BackendKey, MinVersion: c.BackendTLSMin, Logger: d.log}
}

// warnings tells of settings that somebody ought to look at, at every start and on the dashboard.
func warnings(c *config.Config) (all []string) {
	if c.BackendTLS != "plain" && c.BackendVerify == "none" {
		all = append(all, "The backend's certificate is not verified: whoever is in between can read passwords and mail. "+
			"Give --backend-ca or --backend-pin instead of --backend-verify none.")
	}
	if _, port, _ := net.SplitHostPort(c.Backend); c.BackendTLS == "plain" && port == "995" {
		all = append(all, "The backend is spoken to in clear text on port 995, where servers speak TLS: it will wait for TLS, and clients for its greeting. "+
			"Give --backend-tls tls.")
	}
	return slices.Concat(all, descriptorWarnings(c, affordable()), anchorWarnings(c))
}

// inService lists the certificates for people, those first that end first.
func (d *daemon) inService(now time.Time) []show.Certificate {
	var all []show.Certificate
	for _, c := range d.certs.Certificates() {
		all = append(all, show.Certificate{Names: c.Names, State: stateOf(c, now), Source: c.Source, Issuer: c.Issuer, Serial: c.Serial,
			KeyType: c.KeyType, NotBefore: c.NotBefore, NotAfter: c.NotAfter, NextRenewal: c.NextRenewal, File: c.File, Err: c.Err, ErrAt: c.ErrAt})
	}
	slices.SortStableFunc(all, func(a, b show.Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), strings.Compare(strings.Join(a.Names, " "), strings.Join(b.Names, " ")))
	})
	return all
}

func stateOf(c tlsup.Certificate, now time.Time) show.CertificateState {
	switch {
	case c.Awaited:
		return show.CertificateAwaited
	case !now.Before(c.NotAfter):
		return show.CertificateExpired
	case c.NotAfter.Sub(now) < alarm(c.NotAfter.Sub(c.NotBefore)):
		return show.CertificateExpiring
	}
	return show.CertificateGood
}

// alarm is how long before its end a certificate of that life should have been renewed: what is longest for 90 days
// is too long for one of six.
func alarm(life time.Duration) time.Duration {
	const longest = 14 * 24 * time.Hour
	return min(longest, life/6)
}

// forDashboard tells the dashboard, which knows nothing of tlsup, of the certificates.
func (d *daemon) forDashboard() (all []web.Certificate) {
	for _, c := range d.inService(time.Now()) {
		all = append(all, web.Certificate{Names: c.Names, Source: c.Source, State: string(c.State), NotAfter: c.NotAfter, Err: c.Err, ErrAt: c.ErrAt})
	}
	return all
}

// renewal is what certs renew asks for.
type renewal struct {
	Name string `json:"name"`
}

// listing is what certs and certs renew are told.
type listing struct {
	Certificates []show.Certificate `json:"certificates"`
}

func (d *daemon) listCertificates(context.Context, struct{}) (listing, error) {
	return listing{d.inService(time.Now())}, nil
}

// renew orders, issues or reads a name's certificate anew, and answers with what is in service then.
func (d *daemon) renew(ctx context.Context, asked renewal) (done listing, err error) {
	asked.Name = strings.TrimSuffix(asked.Name, ".")
	err = d.certs.Renew(ctx, asked.Name)
	if errors.Is(err, tlsup.ErrUnknownName) {
		return done, fmt.Errorf("no certificate has the name %.253q; there are %s", asked.Name, strings.Join(d.names(), ", "))
	}
	if err != nil {
		return done, err
	}
	return listing{renewed(d.inService(time.Now()), asked.Name)}, nil
}

// renewed chooses what Renew has renewed under a name: the local authority's only if no other source has the name.
func renewed(all []show.Certificate, name string) (found []show.Certificate) {
	isLocal := func(c show.Certificate) bool { return c.Source == tlsup.SourceLocal }
	for _, c := range all {
		if slices.ContainsFunc(c.Names, func(has string) bool { return strings.EqualFold(has, name) }) {
			found = append(found, c)
		}
	}
	if slices.ContainsFunc(found, func(c show.Certificate) bool { return !isLocal(c) }) {
		found = slices.DeleteFunc(found, isLocal)
	}
	return found
}

// names lists every name that has a certificate or awaits one.
func (d *daemon) names() (all []string) {
	for _, c := range d.certs.Certificates() {
		all = append(all, c.Names...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
