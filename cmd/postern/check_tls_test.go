package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every contradiction is told with its place and its remedy, before anything is started.
func TestContradictionsOfCertificatesAndTLS(t *testing.T) {
	dir := t.TempDir()
	readable, hook := filepath.Join(dir, "x.pem"), filepath.Join(dir, "hook")
	for path, mode := range map[string]os.FileMode{readable: 0o600, hook: 0o700} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	const pin = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for _, test := range []struct{ flags, where, what, remedy string }{
		{"", "--acme-domain, --acme-on-demand, --tls-cert, --tls-local", "no source of certificates", "--acme-domain pop.example.org gets them by itself"},
		{"--tls-local --tls-cert F", "--tls-cert", "a certificate without its key", "give --tls-key as well"},
		{"--tls-local --tls-key F", "--tls-key", "a key without its certificate", "give --tls-cert as well"},
		{"--tls-cert F --tls-key F --tls-key F", "--tls-key", "1 certificates, but 2 keys", "one --tls-key for each --tls-cert"},
		{"--tls-cert /nowhere --tls-key F", "--tls-cert", "open /nowhere: no such file or directory", "a PEM file that the user running postern may read"},
		{"--tls-cert F --tls-key F --tls-key /nowhere", "--tls-key", "open /nowhere: no such file or directory", "may read"},

		{"--tls-local --acme-email a@b.c", "--acme-email", "does nothing without --acme-domain", "give --acme-domain"},
		{"--tls-local --acme-rsa", "--acme-rsa", "does nothing without --acme-domain", "give --acme-domain"},
		{"--tls-local --acme-dns-hook H", "--acme-dns-hook", "does nothing without --acme-domain", "give --acme-domain"},
		{"--acme-domain a.example --acme-on-demand a.example", "--acme-on-demand", "a.example is ordered at the start already", "leave it out of one"},
		{"--acme-domain a.example --acme-http-port 0 --acme-tls-port 0", "--acme-http-port", "no challenge is left", "keep --acme-http-port or --acme-tls-port"},
		{"--acme-domain *.a.example", "--acme-domain", "*.a.example is a wildcard", "give --acme-dns-server or --acme-dns-hook"},
		{"--acme-domain 192.0.2.1 --acme-http-port 0 --acme-tls-port 0 --acme-dns-hook H", "--acme-domain", "192.0.2.1 is an address", "keep --acme-http-port"},
		{"--acme-domain a.example --acme-eab-kid k", "--acme-eab-kid", "needs --acme-eab-key-file", "give both"},
		{"--acme-domain a.example --acme-eab-key-file F", "--acme-eab-key-file", "needs --acme-eab-kid", "give both"},
		{"--acme-domain a.example --acme-roots /nowhere", "--acme-roots", "open /nowhere: no such file or directory", "may read"},
		{"--acme-domain a.example --tls-default-name b.example", "--tls-default-name", "no certificate will have the name b.example", "choose one of a.example"},

		{"--acme-domain a.example --acme-dns-server n:53 --acme-dns-hook H", "--acme-dns-hook", "two ways to set a record", "keep one of them"},
		{"--acme-domain a.example --acme-dns-hook H --acme-dns-zone example", "--acme-dns-zone", "does nothing without --acme-dns-server", "give --acme-dns-server"},
		{"--acme-domain a.example --acme-dns-propagation 1m", "--acme-dns-propagation", "does nothing without --acme-dns-server or --acme-dns-hook", "give one of them"},
		{"--acme-domain a.example --acme-dns-server n:53 --acme-dns-tsig-name k", "--acme-dns-tsig-name", "needs --acme-dns-tsig-key-file", "give both"},
		{"--acme-domain a.example --acme-dns-server n:53 --acme-dns-tsig-algorithm hmac-sha512", "--acme-dns-tsig-algorithm", "does nothing without --acme-dns-tsig-name", "secret of the key"},
		{"--acme-domain a.example --acme-dns-hook F", "--acme-dns-hook", "F may not be run by this user", "chmod +x F"},
		{"--acme-domain a.example --acme-dns-hook " + dir, "--acme-dns-hook", "is not a program", "may run"},
		{"--acme-domain a.example --acme-dns-hook /nowhere", "--acme-dns-hook", "stat /nowhere: no such file or directory", "may run"},

		{"--tls-local --tls-client-auth require", "--tls-client-auth", "no authority whose certificates clients may show", "give --tls-client-ca"},
		{"--tls-local --tls-client-ca F", "--tls-client-ca", "does nothing while --tls-client-auth is off", "give --tls-client-auth request or require"},
		{"--tls-local --tls-client-auth request --tls-client-ca /nowhere", "--tls-client-ca", "open /nowhere: no such file or directory", "may read"},
		{"--tls-local --auth-external match", "--auth-external", "none is asked for", "give --tls-client-auth request"},

		{"--tls-local --backend-verify none", "--backend-verify", "does nothing while --backend-tls is plain", "give --backend-tls stls or tls"},
		{"--tls-local --backend-pin " + pin, "--backend-pin", "does nothing while --backend-tls is plain", "give --backend-tls stls or tls"},
		{"--tls-local --backend-tls tls --backend-verify none --backend-ca F", "--backend-ca", "is not looked at while --backend-verify is none", "leave --backend-verify out"},
		{"--tls-local --backend-tls stls --backend-verify none --backend-pin " + pin, "--backend-pin", "is not looked at", "leave --backend-verify out"},
		{"--tls-local --backend-tls tls --backend-cert F", "--backend-cert", "needs --backend-key", "give both"},
		{"--tls-local --backend-tls tls --backend-key F", "--backend-key", "needs --backend-cert", "give both"},
		{"--tls-local --backend-tls tls --backend-ca /nowhere", "--backend-ca", "open /nowhere: no such file or directory", "may read"},
		{"--tls-local --backend-tls tls --backend-pin sha256//short", "--backend-pin", "is not sha256// and 32 octets in base64", "write it like --backend-pin=sha256//"},
		{"--tls-local --backend-tls tls --backend-tls-min 1.4", "--backend-tls-min", `"1.4" is none of 1.3, 1.2, 1.1, 1.0`, "did you mean \"1.3\"?"},
	} {
		named := strings.NewReplacer(" F", " "+readable, " H", " "+hook)
		t.Run(strings.ReplaceAll(test.flags, "/", "_"), func(t *testing.T) {
			args := strings.Fields(named.Replace("serve --backend m:1 --data-dir " + dir + " " + test.flags))
			got := invoke(t, args...)
			what := strings.NewReplacer("F may", readable+" may").Replace(test.what)
			remedy := strings.NewReplacer("+x F", "+x "+readable).Replace(test.remedy)
			if got.code != 2 || !strings.Contains(got.err, "\n  "+test.where+": ") || !strings.Contains(got.err, what) ||
				!strings.Contains(got.err, "\n      ") || !strings.Contains(got.err, remedy) {
				t.Errorf("exit code %d; want %q, %q and %q in\n%s", got.code, test.where, what, remedy, got.err)
			}
			if n := strings.Count(got.err, "\n\n  "); n > 1 && !strings.Contains(test.flags, "--tls-key /nowhere") {
				t.Errorf("one mistake is told as %d:\n%s", n, got.err)
			}
		})
	}
}

// The place of a contradiction is where the setting was made, file, variable or flag.
func TestContradictionsAreToldWhereTheyWereMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postern.toml")
	text := "backend = \"m:1\"\nacme_domain = [\"*.a.example\"]\n\nbackend_tls = \"tls\"\nbackend_verify = \"none\"\nbackend_ca = \"/nowhere\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POSTERN_AUTH_EXTERNAL", "match")
	got := invoke(t, "serve", "--config", file, "--acme-eab-kid", "k")
	for _, want := range []string{"for 5 reasons", file + ":2:15: *.a.example is a wildcard", file + ":6:14: is not looked at",
		file + ":6:14: open /nowhere", "POSTERN_AUTH_EXTERNAL: match compares", "--acme-eab-kid: needs"} {
		if got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("%q is missing from\n%s", want, got.err)
		}
	}
}
