package peers

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// scanTimeout bounds one run of a scanner; testssl.sh takes half a minute on a machine with nothing else to do.
const scanTimeout = 5 * time.Minute

// Finding is what a scanner says of one thing it looked at.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"` // of testssl.sh: OK, INFO, LOW, MEDIUM, HIGH, CRITICAL, WARN, FATAL
	Text     string `json:"finding"`
}

// Testssl runs testssl.sh against a server and returns all it found. It fails the test when the scan was not done to
// its end.
func Testssl(t testing.TB, target Target) []Finding {
	t.Helper()
	all := testssl(t, target, "-p", "-s", "-f", "-P", "-S", "-U")
	for _, id := range []string{"TLS1_3", "cert_trust", "heartbleed", "LUCKY13"} { // of the first and last things it does
		said := func(f Finding) bool { return f.ID == id || strings.HasPrefix(f.ID, id+" ") } // of each certificate
		if !slices.ContainsFunc(all, said) {
			t.Fatalf("testssl has %d findings, but says nothing of %s", len(all), id)
		}
	}
	return all
}

// testssl makes some of its checks.
func testssl(t testing.TB, target Target, checks ...string) (all []Finding) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "findings.json")
	args := append([]string{"--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
		"--add-ca", target.CAFile, "--jsonfile", out}, checks...)
	if target.Mode == STLS {
		args = append(args, "--starttls", "pop3")
	}
	args = append(args, "localhost:"+target.port())
	printed := scan(t, Need(t, "testssl", "testssl.sh"), args...) // its exit code counts findings
	text, err := os.ReadFile(out)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatalf("testssl %s: %v\n%s", strings.Join(args, " "), err, tail(printed))
	}
	return all
}

// AboveLow returns the findings of testssl.sh that are worse than LOW, and those that say it could not look.
func AboveLow(all []Finding) (grave []Finding) {
	for _, f := range all {
		machine := f.ID == "engine_problem" // of the scanner's own OpenSSL, which has no GOST ciphers
		if !machine && !slices.Contains([]string{"OK", "INFO", "LOW"}, f.Severity) {
			grave = append(grave, f)
		}
	}
	return grave
}

// Scan is what sslscan saw of a server.
type Scan struct {
	Versions []string // enabled: "tls 1.2"
	Weak     []string // what it holds for weak or broken, and why
}

// sslscanReport is the part of its XML that matters.
type sslscanReport struct {
	Protocols []struct {
		Type    string `xml:"type,attr"`
		Version string `xml:"version,attr"`
		Enabled bool   `xml:"enabled,attr"`
	} `xml:"ssltest>protocol"`
	Renegotiation []flaw `xml:"ssltest>renegotiation"`
	Compression   []flaw `xml:"ssltest>compression"`
	Heartbleed    []flaw `xml:"ssltest>heartbleed"`
	Ciphers       []struct {
		Version  string `xml:"sslversion,attr"`
		Name     string `xml:"cipher,attr"`
		Strength string `xml:"strength,attr"`
	} `xml:"ssltest>cipher"`
	Certificates []struct {
		Signature string `xml:"signature-algorithm"`
		Expired   bool   `xml:"expired"`
	} `xml:"ssltest>certificates>certificate"`
}

// flaw is an element of the report about something that should not be.
type flaw struct {
	Version    string `xml:"sslversion,attr"`
	Supported  bool   `xml:"supported,attr"`
	Secure     bool   `xml:"secure,attr"`
	Vulnerable bool   `xml:"vulnerable,attr"`
}

// Sslscan runs sslscan against a server.
func Sslscan(t testing.TB, target Target) Scan {
	t.Helper()
	args := []string{"--no-colour", "--xml=-"}
	if target.Mode == STLS {
		args = append(args, "--starttls-pop3")
	}
	printed := scan(t, Need(t, "sslscan", "sslscan"), append(args, target.Addr)...)
	var report sslscanReport
	if err := xml.Unmarshal(printed, &report); err != nil || len(report.Ciphers) == 0 {
		t.Fatalf("sslscan %s by %s: no report: %v\n%s", target.Addr, target.Mode, err, tail(printed))
	}
	return report.judge()
}

func (r sslscanReport) judge() (s Scan) {
	for _, p := range r.Protocols {
		if p.Enabled {
			s.Versions = append(s.Versions, p.Type+" "+p.Version)
		}
	}
	for _, c := range r.Ciphers {
		if c.Strength != "strong" && c.Strength != "acceptable" {
			s.Weak = append(s.Weak, c.Strength+" cipher "+c.Name+" in "+c.Version)
		}
	}
	for what, flaws := range map[string][]flaw{"renegotiation": r.Renegotiation, "compression": r.Compression,
		"heartbleed": r.Heartbleed} {
		for _, f := range flaws {
			if f.Vulnerable || f.Supported && !f.Secure {
				s.Weak = append(s.Weak, what+" "+f.Version)
			}
		}
	}
	for _, c := range r.Certificates {
		if c.Expired || strings.Contains(c.Signature, "SHA1") || strings.Contains(c.Signature, "sha1") {
			s.Weak = append(s.Weak, "certificate signed by "+c.Signature)
		}
	}
	return s
}

// scan returns what a scanner printed, whatever its exit code.
func scan(t testing.TB, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scanTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		t.Fatalf("%s: %v, %v\n%s", program, ctx.Err(), err, tail(out))
	}
	return out
}
