package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postern.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEachLayerOverridesTheOneBefore(t *testing.T) {
	path := write(t, `
listen_pop3s = [":1", ":2"]
backend = "file:110"
durability = "relaxed"
timeout_idle = "20m"
max_sessions = 1_000
tls_local = true
`)
	c, err := Load(Sources{
		File: path,
		Environ: []string{"POSTERN_BACKEND=env:110", "POSTERN_DURABILITY=strict", "POSTERN_LISTEN_POP3=:3, :4",
			"POSTERN_SERVICE_HOST=10.0.0.1", "HOME=/root"},
		Flags: map[string][]string{"backend": {"flag:110"}, "listen-pop3s": {":5", ":6,:7"}, "web": {""}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.ListenPOP3S = []string{":5", ":6", ":7"}
	want.ListenPOP3 = []string{":3", ":4"}
	want.Backend, want.Durability, want.Web = "flag:110", "strict", ""
	want.TimeoutIdle, want.MaxSessions, want.TLSLocal = 20*time.Minute, 1000, true
	want.origins = c.origins
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for name, origin := range map[string]string{
		"backend": "--backend", "durability": "POSTERN_DURABILITY", "timeout-idle": path + ":5:16", "tls-key": "--tls-key",
	} {
		if got := c.Origin(name); got != origin {
			t.Errorf("origin of %s is %s, want %s", name, got, origin)
		}
	}
	if c.IsSet("tls-key") || !c.IsSet("tls-local") {
		t.Error("IsSet confuses defaults with settings")
	}
}

// One key may belong to two certificates, so that it alone may be named twice.
func TestAKeyMayBeNamedTwice(t *testing.T) {
	path := write(t, "tls_cert = [\"a.pem\", \"b.pem\"]\ntls_key = [\"k.pem\", \"k.pem\"]\n")
	c, err := Load(Sources{File: path})
	if err != nil || len(c.TLSCerts) != 2 || len(c.TLSKeys) != 2 {
		t.Errorf("got %v %v, %v", c.TLSCerts, c.TLSKeys, err)
	}
	if _, err := Load(Sources{Flags: map[string][]string{"tls-cert": {"a.pem", "a.pem"}}}); err == nil {
		t.Error("a certificate may stand there twice")
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for text, want := range map[string]bool{
		"pop.example.org": true, "POP.Example.org.": true, "localhost": true, "xn--e1afmkfd.xn--p1ai": true, "*.example.org": true,
		"192.0.2.7": true, "2001:db8::7": true, long + ".org": true,
		"": false, ".": false, "a..b": false, "-a.b": false, "a-.b": false, "a_b.c": false, "*": false, "a.*.b": false, "*.*.b": false,
		long + "a.org": false, strings.Repeat(long+".", 4) + "a": false, "a b": false, "[::1]": false, "a:110": false,
	} {
		if got := certificateName(text) == ""; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if zoneName("_acme-challenge.example.org.") != "" || zoneName("*.example.org") == "" {
		t.Error("wrong zones")
	}
}

func TestAnEmptyTextEmptiesAList(t *testing.T) {
	c, err := Load(Sources{Environ: []string{"POSTERN_LISTEN_POP3="}, Flags: map[string][]string{"listen-pop3s": {""}}})
	if err != nil || len(c.ListenPOP3) != 0 || len(c.ListenPOP3S) != 0 {
		t.Errorf("got %v %v, %v", c.ListenPOP3, c.ListenPOP3S, err)
	}
	c, err = Load(Sources{Environ: []string{"POSTERN_ACME_EMAIL=", "POSTERN_BACKEND_PIN=", "POSTERN_MAX_SESSIONS=7"}})
	if err != nil || c.IsSet("acme-email") || c.IsSet("backend-pin") || !c.IsSet("max-sessions") || c.IsSet("nonsense") {
		t.Errorf("an empty text counts as a setting, %v", err)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "\nbakend = \"x:1\"", `FILE:2:1: unknown key "bakend" | did you mean "backend"?`},
		{"dash", "log-level = \"info\"", `FILE:1:1: unknown key "log-level" | did you mean "log_level"?`},
		{"nothing near", "colour = 1", `FILE:1:1: unknown key "colour" | postern config prints a file with every key`},
		{"table", "[relay]\nbackend = 1", `FILE:1:2: unknown table [relay] | settings stand at the top level, without a [table] above them`},
		{"dotted", "relay.backend = \"x:1\"", `FILE:1:1: unknown key "relay.backend" | postern config prints a file with every key`},
		{"type of text", "backend = 110", `FILE:1:11: backend wants a text in quotes, not a whole number | write it like backend = "mail.internal:110"`},
		{"type of number", "max_sessions = \"5\"", `FILE:1:16: max_sessions wants a whole number, not a text | write it like max_sessions = 10000`},
		{"type of bool", "tls_local = 1", `FILE:1:13: tls_local wants true or false, not a whole number | write it like tls_local = false`},
		{"list for one", "backend = [\"x:1\"]", `FILE:1:11: backend wants a text in quotes, not a list | write it like backend = "mail.internal:110"`},
		{"element", "listen_pop3 = [\n  \":110\",\n  995,\n]", `FILE:3:3: listen_pop3 wants texts in its list, not a whole number | write it like listen_pop3 = [":110"]`},
		{"element's value", "listen_pop3 = [\n  \":110\",\n  \":x\",\n]", `FILE:3:3: port "x" is not a number from 0 to 65535 | write it like listen_pop3 = [":110"]`},
		{"name", "acme_domain = [\"pop example\"]", `FILE:1:16: "pop example" is neither the name of a host (in ASCII, as xn-- where need be) nor an address | write it like acme_domain = ["pop.example.org"]`},
		{"script", "tls_default_name = \"пример.рф\"", `FILE:1:20: "пример.рф" is neither the name of a host (in ASCII, as xn-- where need be) nor an address | write it like tls_default_name = "pop.example.org"`},
		{"wildcard behind", "backend_name = \"*.example.org\"", `FILE:1:16: "*.example.org" is neither the name of a host (in ASCII, as xn-- where need be) nor an address | write it like backend_name = "mail.internal"`},
		{"wildcard on demand", "acme_on_demand = [\"*.example.org\"]", `FILE:1:19: "*.example.org": no client asks for a wildcard | write it like acme_on_demand = ["pop.customer.example"]`},
		{"address on demand", "acme_on_demand = [\"::1\"]", `FILE:1:19: "::1": clients that connect to an address name no server | write it like acme_on_demand = ["pop.customer.example"]`},
		{"mail", "acme_email = \"Ada <a@b>\"", `FILE:1:14: "Ada <a@b>" is not a mail address | write it like acme_email = "postmaster@example.org"`},
		{"URL", "acme_ca = \"http://ca.internal/dir\"", `FILE:1:11: "http://ca.internal/dir" is not an https:// URL | write it like acme_ca = "https://acme.internal/directory"`},
		{"zone", "acme_dns_zone = \"-x.\"", `FILE:1:17: "-x." is not a name in the DNS | write it like acme_dns_zone = "example.org"`},
		{"pin", "backend_pin = [\"sha256//AAAA\"]", `FILE:1:16: "sha256//AAAA" is not sha256// and 32 octets in base64 | write it like backend_pin = ["sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]`},
		{"pin of a certificate", "backend_pin = [\"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"]", `FILE:1:16: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" is not sha256// and 32 octets in base64 | write it like backend_pin = ["sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]`},
		{"version", "backend_tls_min = \"TLS1.2\"", `FILE:1:19: "TLS1.2" is none of 1.3, 1.2, 1.1, 1.0 | choose one of 1.3, 1.2, 1.1, 1.0`},
		{"renamed", "acme_directory = \"https://ca.internal/\"", `FILE:1:1: unknown key "acme_directory" | postern config prints a file with every key`},
		{"element twice", "listen_pop3 = [\":1\", \":1\"]", `FILE:1:15: ":1" stands there twice | write it like listen_pop3 = [":110"]`},
		{"duration", "timeout_dial = \"10 fortnights\"", `FILE:1:16: "10 fortnights" is not a duration | write it like timeout_dial = "5s"`},
		{"least", "timeout_idle = \"5m\"", `FILE:1:16: 5m is less than 10m, the least allowed | write it like timeout_idle = "11m"`},
		{"most", "acme_http_port = 70000", `FILE:1:18: 70000 is more than 65535, the most allowed | write it like acme_http_port = 80`},
		{"choice", "durability = \"srict\"", `FILE:1:14: "srict" is none of strict, relaxed | did you mean "strict"?`},
		{"host", "backend = \"mail\"", `FILE:1:11: "mail" is not host:port | write it like backend = "mail.internal:110"`},
		{"port", "backend = \"mail:pop3\"", `FILE:1:11: port "pop3" is not a number from 1 to 65535 | write it like backend = "mail.internal:110"`},
		{"twice", "tls_local = true\ntls_local = true", `FILE:2:1: tls_local was set on line 1 already | keep one of the two`},
		{"syntax", "tls_local = true\nbackend = mail:110", `FILE:2:11: `},
		{"hostile", "\"\\u001b[2J\" = 1", `FILE:1:1: unknown key "\x1b[2J" | postern config prints a file with every key`},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.text)
			_, err := Load(Sources{File: path})
			problems, ok := err.(Problems)
			if !ok || len(problems) != 1 {
				t.Fatalf("got %v, want one problem", err)
			}
			got := strings.ReplaceAll(problems[0].Where, path, "FILE") + ": " + problems[0].What + " | " + problems[0].Remedy
			if got != test.want && !(test.name == "syntax" && strings.HasPrefix(got, test.want)) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	path := write(t, "bakend = \"x:1\"\ndurability = \"never\"\n")
	_, err := Load(Sources{
		File:    path,
		Environ: []string{"POSTERN_WBE=127.0.0.1:1", "POSTERN_MAX_SESSIONS=many", "POSTERN_LOG_LEVEL="},
		Flags:   map[string][]string{"timeout-idle": {"1m"}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	want := `the settings do not work yet, for 6 reasons:

  FILE:1:1: unknown key "bakend"
      did you mean "backend"?

  FILE:2:14: "never" is none of strict, relaxed
      choose one of strict, relaxed

  POSTERN_WBE: unknown variable
      did you mean POSTERN_WEB?

  POSTERN_LOG_LEVEL: "" is none of debug, info, warn, error
      choose one of debug, info, warn, error

  POSTERN_MAX_SESSIONS: "many" is not a whole number
      write it like POSTERN_MAX_SESSIONS=10000

  --timeout-idle: 1m is less than 10m, the least allowed
      write it like --timeout-idle=11m`
	if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAFileThatCannotBeRead(t *testing.T) {
	_, err := Load(Sources{File: "/nowhere/postern.toml"})
	problems, ok := err.(Problems)
	if !ok || len(problems) != 1 || problems[0].What != "no such file or directory" {
		t.Errorf("got %v", err)
	}
}

// The sample, with every comment sign before a setting removed, must be accepted: it is the table read aloud.
func TestTheSampleReadsBack(t *testing.T) {
	var lines []string
	for line := range strings.Lines(Sample()) {
		if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "##") {
			line = line[1:]
		}
		lines = append(lines, line)
	}
	c, err := Load(Sources{File: write(t, strings.Join(lines, ""))})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings {
		if !c.IsSet(s.Name) {
			t.Errorf("%s is missing from the sample", s.Name)
		}
	}
	d := Default()
	if c.TimeoutIdle != d.TimeoutIdle || !reflect.DeepEqual(c.ListenPOP3S, d.ListenPOP3S) || c.Durability != d.Durability {
		t.Error("the sample's values are not the defaults")
	}
	if _, err := Load(Sources{File: write(t, Sample())}); err != nil {
		t.Error(err)
	}
}

func TestAuditPath(t *testing.T) {
	c := Default()
	if got := c.AuditPath(); got != "/var/lib/postern/audit.db" {
		t.Error(got)
	}
	c.AuditDB = "/x.db"
	if got := c.AuditPath(); got != "/x.db" {
		t.Error(got)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("listen_pop3s = [\":1\"]\nbackend = \"x:1\"\n[a.b]\nc = 1")
	f.Add("a = {b = 1, c = [1979-05-27]}\n\"q\".r = '''x'''")
	f.Fuzz(func(t *testing.T, text string) {
		var problems Problems
		for _, g := range fromTOML("f", []byte(text), &problems) {
			if len(g.values) > len(text) || g.origin == "" {
				t.Errorf("%+v", g)
			}
		}
	})
}
