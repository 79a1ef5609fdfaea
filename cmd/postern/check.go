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
	checkBackend(c, &p)
	checkCertificates(c, &p)
	checkACME(c, &p)
	checkDNS(c, &p)
	checkClients(c, &p)
	checkFiles(c, &p)
	checkDataDir(c, &p)
	checkAnchors(c, &p)
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

// checkDataDir tells whether the directories can be made and written to, without making them.
func checkDataDir(c *config.Config, p *config.Problems) {
	check := func(name, dir string) {
		switch what := unwritable(dir); {
		case strings.HasSuffix(what, syscall.EROFS.Error()):
			p.Add(c.Origin(name), what, "mount its disk writable (mount -o remount,rw ...), or choose another with --"+name)
		case what != "":
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
