package main

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"postern/cmd/internal/peers"
)

// versions are those that openssl s_client knows, by its option, and as they stand on record.
var versions = map[string]string{"-tls1": "TLS 1.0", "-tls1_1": "TLS 1.1", "-tls1_2": "TLS 1.2", "-tls1_3": "TLS 1.3"}

// policies are what each policy lets in.
var policies = map[string][]string{
	"modern":       {"-tls1_3"},
	"intermediate": {"-tls1_2", "-tls1_3"},
	"legacy":       {"-tls1", "-tls1_1", "-tls1_2", "-tls1_3"},
}

// underPolicy is a gate with certificates of both kinds, for old clients know RSA alone.
func underPolicy(t *testing.T, policy string, authority *peers.Authority, backend string, a peers.Account) *gate {
	t.Helper()
	flags := []string{"--tls-policy", policy}
	for _, leaf := range []peers.Leaf{{}, {RSA: true}} {
		pair := authority.Issue(t, leaf)
		flags = append(flags, "--tls-cert", pair.Cert, "--tls-key", pair.Key)
	}
	g := serve(t, backend, []peers.Account{a}, flags...)
	g.ca = authority.File
	return g
}

// Every version of TLS is let in or refused as the policy says, on both listeners, and what is older than RFC 8996
// allows is marked on record.
func TestPolicies(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	alice := peers.Account{User: "alice", Password: "e2e policies 5Nt2", Mail: peers.Small(2)}
	backend := peers.Dovecot(t, alice)
	for policy, allowed := range policies {
		g := underPolicy(t, policy, authority, backend.Addr, alice)
		for option, version := range versions {
			for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
				t.Run(policy+"/"+version+"/"+string(mode), func(t *testing.T) {
					target := g.target(mode, alice)
					for _, ciphers := range []string{"aECDSA:@SECLEVEL=0", "aRSA:@SECLEVEL=0"} {
						checkVersion(t, g, target, option, ciphers, slices.Contains(allowed, option))
					}
				})
			}
		}
	}
}

// checkVersion fetches a message by one version of TLS and one kind of certificate, or expects an alert that says why
// not.
func checkVersion(t *testing.T, g *gate, target peers.Target, option, ciphers string, allowed bool) {
	t.Helper()
	if option == "-tls1_3" { // it has no ciphers for one kind of certificate
		ciphers = "DEFAULT"
	}
	commands := "USER " + target.User + "\r\nPASS " + target.Password + "\r\nRETR 1\r\nQUIT\r\n"
	out, err := sclient(t, target, commands, "-quiet", option, "-cipher", ciphers)
	if !allowed {
		if err == nil || !strings.Contains(out, "alert protocol version") {
			t.Errorf("%s, %s: %v, %.1000s; want the alert protocol version", option, ciphers, err, out)
		}
		return
	}
	if err != nil || !strings.Contains(out, "Message-ID: <m1@example.test>") {
		t.Errorf("%s, %s: %v, %.1000s; want the message", option, ciphers, err, out)
		return
	}
	facts, version := g.newest(t).TLS, versions[option]
	if facts == nil || facts.Version != version || facts.Legacy != (version < "TLS 1.2") {
		t.Errorf("%s, %s: on record as %+v", option, ciphers, facts)
	}
}

// sclient runs openssl s_client and returns all it printed.
func sclient(t *testing.T, target peers.Target, stdin string, options ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	args := append([]string{"s_client", "-verify_return_error", "-CAfile", target.CAFile, "-connect", target.Addr,
		"-servername", "localhost"}, options...)
	if target.Mode == peers.STLS {
		args = append(args, "-starttls", "pop3")
	}
	cmd := exec.CommandContext(ctx, peers.Need(t, "openssl", "openssl"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// What legacy sessions are is told wherever a person looks.
func TestLegacyIsShown(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e legacy 9Wb3", Mail: peers.Small(1)}
	backend := peers.Dovecot(t, alice)
	g := underPolicy(t, "legacy", peers.NewAuthority(t), backend.Addr, alice)
	out, err := sclient(t, g.target(peers.TLS, alice), "USER alice\r\nQUIT\r\n", "-quiet", "-tls1", "-cipher", "DEFAULT@SECLEVEL=0")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	id := g.newest(t).ID.String()
	contains(t, "postern session", g.command(t, "session", id), "TLS 1.0 (OUTDATED)")
	contains(t, "postern session --json", g.command(t, "session", "--json", id), `"version":"TLS 1.0"`, `"legacy":true`)
	contains(t, "the API", string(g.fetch(t, "/api/sessions/"+id)), `"legacy":true`)
}

// The scanners that auditors use have nothing to say against modern and intermediate, on either listener.
func TestScanners(t *testing.T) {
	t.Parallel()
	authority := peers.NewAuthority(t)
	backend := peers.Dovecot(t)
	for _, policy := range []string{"modern", "intermediate"} {
		g := underPolicy(t, policy, authority, backend.Addr, peers.Account{})
		want := map[string][]string{"modern": {"tls 1.3"}, "intermediate": {"tls 1.2", "tls 1.3"}}[policy]
		for _, mode := range []peers.Mode{peers.TLS, peers.STLS} {
			t.Run(policy+"/"+string(mode), func(t *testing.T) {
				t.Parallel()
				target := g.target(mode, peers.Account{})
				if scan := peers.Sslscan(t, target); !slices.Equal(scan.Versions, want) || scan.Weak != nil {
					t.Errorf("sslscan found %q, want %q, and weaknesses: %q", scan.Versions, want, scan.Weak)
				}
				for _, f := range peers.AboveLow(peers.Testssl(t, target)) {
					t.Errorf("testssl: %s, %s: %s", f.ID, f.Severity, f.Text)
				}
			})
		}
	}
}
