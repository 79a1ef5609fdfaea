package config

import (
	"slices"
	"strings"
	"testing"
)

// TestInForce tells what is not at its default, where it was set, and how the log is kept in any case.
func TestInForce(t *testing.T) {
	c, err := Load(Sources{
		Environ: []string{"POSTERN_TIMEOUT_IDLE=20m", "POSTERN_MAX_SESSIONS=10000"},
		Flags: map[string][]string{"backend": {"mail:110"}, "listen-pop3": {""}, "tls-cert": {"a.pem", "b.pem"}, "tls-key": {"/etc/a.key", "b.key"},
			"tls-local": {"true"}, "retain-users": {"36h"}, "retain-size": {"10GB"}, "acme-ca": {"https://me:secret@ca.example/directory?token=secret#secret"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.InForce() {
		got = append(got, s.Name+"="+s.Value+" by "+string(s.Origin))
	}
	for _, want := range []string{
		"backend=mail:110 by --backend", "listen-pop3= by --listen-pop3", "tls-cert=a.pem, b.pem by --tls-cert", "tls-key=/etc/a.key, b.key by --tls-key",
		"tls-local=true by --tls-local", "timeout-idle=20m by POSTERN_TIMEOUT_IDLE",
		"acme-ca=https://<redacted>@ca.example/directory?<redacted> by --acme-ca",
		"durability=strict by default", "retain-sessions=365d by default", "retain-messages=forever by default", "retain-users=36h by --retain-users",
		"retain-size=10000000000 by --retain-size", "on-failure=refuse by default", "data-dir=/var/lib/postern by default",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not told", want)
		}
	}
	if all := strings.Join(got, "\n"); strings.Contains(all, "secret") || strings.Contains(all, "max-sessions") || strings.Contains(all, "audit-db") {
		t.Errorf("told:\n%s", all)
	}
}

// TestEverySettingHasText finds a type of setting that InForce knows nothing of.
func TestEverySettingHasText(t *testing.T) {
	c := Default()
	for _, s := range Settings {
		if s.Default != "" && s.text(c) == "" {
			t.Errorf("%s is %q by default, and has no text", s.Name, s.Default)
		}
	}
}

// TestPublic takes out of URLs whatever may be a password, also when they are none.
func TestPublic(t *testing.T) {
	for text, want := range map[string]string{
		"mail:110":                        "mail:110",
		"/etc/postern/tsig.key":           "/etc/postern/tsig.key",
		"https://ca.example/directory":    "https://ca.example/directory",
		"https://u:s3@cret@h.example/p":   "https://<redacted>@h.example/p",
		"https://s3cret@h.example":        "https://<redacted>@h.example",
		"https://h.example?s3cret":        "https://h.example?<redacted>",
		"https://h.example/a#s3cret":      "https://h.example/a",
		"https://h.example:x/s3cret":      "https://<redacted>",
		"https://h.example/at@home/paths": "https://h.example/at@home/paths",
	} {
		if got := (Setting{}).public(text); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"https://hooks.example/T00/s3cret": "https://hooks.example/<redacted>", "https://hooks.example/": "https://hooks.example/",
		"https://hooks.example": "https://hooks.example", "https://hooks.example/a?b=s3cret": "https://hooks.example/<redacted>?<redacted>",
	} {
		if got := (Setting{Secret: true}).public(text); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
}
