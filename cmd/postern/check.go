package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postern/cmd/internal/config"
	"postern/web"
)

// check finds everything that is missing from c, contradicts itself or cannot work on this machine, before
// anything is started.
func check(c *config.Config) (p config.Problems) {
	checkRelay(c, &p)
	checkCertificates(c, &p)
	checkDataDir(c, &p)
	if c.Web != "" {
		if err := web.CheckLoopback(c.Web); err != nil {
			p.Add(c.Origin("web"), err.Error(), "")
		}
	}
	return p
}

// asProblems returns the mistakes in err, which config.Load returned.
func asProblems(err error) config.Problems {
	p, _ := errors.AsType[config.Problems](err)
	return p
}

func checkRelay(c *config.Config, p *config.Problems) {
	if c.Backend == "" {
		p.Add("--backend", "no mail server to stand in front of",
			"name the plain POP3 server behind: --backend mail.internal:110, or POSTERN_BACKEND, or backend = \"...\" in the file")
	}
	if len(c.ListenPOP3S)+len(c.ListenPOP3) == 0 {
		p.Add(c.Origin("listen-pop3s"), "no address to listen on", "give --listen-pop3s :995, --listen-pop3 :110, or both")
	}
	for _, addr := range c.ListenPOP3 {
		for _, other := range c.ListenPOP3S {
			if addr == other && !strings.HasSuffix(addr, ":0") {
				p.Add(c.Origin("listen-pop3"), addr+" is taken by --listen-pop3s",
					"POP3S and POP3 with STLS need a port each, 995 and 110 by custom")
			}
		}
	}
}

// checkCertificates holds to exactly one source of certificates, with all it needs.
func checkCertificates(c *config.Config, p *config.Problems) {
	files, acme := c.TLSCert != "" || c.TLSKey != "", len(c.ACMEDomains) > 0
	checkOneSource(c, p, files, acme)
	if c.TLSCert != "" && c.TLSKey == "" {
		p.Add(c.Origin("tls-cert"), "a certificate without its key", "give --tls-key as well; both may name the same file")
	}
	if c.TLSKey != "" && c.TLSCert == "" {
		p.Add(c.Origin("tls-key"), "a key without its certificate", "give --tls-cert as well; both may name the same file")
	}
	for _, name := range []string{"acme-email", "acme-directory", "acme-roots", "acme-http-port", "acme-tls-port"} {
		if !acme && c.IsSet(name) {
			p.Add(c.Origin(name), "does nothing without --acme-domain", "give --acme-domain, or leave it out")
		}
	}
	if acme && c.ACMEHTTPPort == 0 && c.ACMETLSPort == 0 {
		p.Add(c.Origin("acme-http-port"), "no challenge is left for the authority to ask", "keep --acme-http-port or --acme-tls-port")
	}
	checkFile(c, p, "tls-cert", c.TLSCert)
	checkFile(c, p, "tls-key", c.TLSKey)
	checkFile(c, p, "acme-roots", c.ACMERoots)
}

// checkOneSource names every source that was given when that is not exactly one.
func checkOneSource(c *config.Config, p *config.Problems, files, acme bool) {
	var sources, places []string
	for _, source := range []struct {
		used bool
		name string
	}{{files, "tls-cert"}, {acme, "acme-domain"}, {c.TLSLocal, "tls-local"}} {
		if source.used {
			sources = append(sources, "--"+source.name)
			places = append(places, c.Origin(source.name))
		}
	}
	switch {
	case len(sources) == 0:
		p.Add("--tls-cert, --acme-domain, --tls-local", "no source of certificates",
			"give one: --acme-domain pop.example.org gets them by itself, --tls-cert and --tls-key read files, "+
				"--tls-local makes its own for a trial")
	case len(sources) > 1:
		p.Add(strings.Join(places, ", "), "more than one source of certificates: "+strings.Join(sources, ", "), "keep one of them")
	}
}

func checkFile(c *config.Config, p *config.Problems, name, path string) {
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		p.Add(c.Origin(name), err.Error(), "give the path of a PEM file that the user running postern may read")
		return
	}
	f.Close()
}

// checkDataDir tells whether the directories can be made and written to, without making them.
func checkDataDir(c *config.Config, p *config.Problems) {
	check := func(name, dir string) {
		if what := unwritable(dir); what != "" {
			p.Add(c.Origin(name), what, "sudo install -d -m 0700 -o $(id -un) "+dir+", or choose another with --"+name)
		}
	}
	check("data-dir", c.DataDir)
	if c.AuditDB != "" {
		check("audit-db", filepath.Dir(c.AuditDB))
	}
}

// unwritable says why dir cannot be written to; of a directory that is missing, the nearest one above counts.
func unwritable(dir string) string {
	const writeAndEnter = 0o3 // access(2): W_OK and X_OK
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at:
			continue
		case err != nil:
			return err.Error()
		case !info.IsDir():
			return at + " is not a directory"
		}
		if err := syscall.Access(at, writeAndEnter); err != nil {
			return "cannot write to " + at + ": " + err.Error()
		}
		return ""
	}
}
