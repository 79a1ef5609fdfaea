package acmetest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// namedProgram is where Debian's bind9 puts the server.
const namedProgram = "/usr/sbin/named"

// NameServer is ISC's named with one zone, which it lets the holder of a TSIG key (RFC 8945) update (RFC 2136).
type NameServer struct {
	Addr    string // host:port, UDP and TCP
	Zone    string // without the last dot
	KeyName string
	KeyFile string // the key's secret, base64
}

// namedConfig runs as whoever started it, on one port, and leaves nothing outside its directory.
const namedConfig = `options {
	directory %[1]q; pid-file none; session-keyfile %[2]q; lock-file none;
	listen-on port %[3]s { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no; empty-zones-enable no;
};
controls { };
logging { category default { default_stderr; }; };
key %[4]q { algorithm %[5]s; secret %[6]q; };
zone %[7]q { type primary; file "zone.db"; update-policy { grant %[4]s subdomain %[8]s TXT; }; };
`

const zoneFile = `$TTL 1
@ IN SOA ns hostmaster 1 3600 600 86400 1
@ IN NS ns
@ IN A 127.0.0.1
* IN A 127.0.0.1
ns IN A 127.0.0.1
_acme-challenge.alias IN CNAME _acme-challenge.target.%[1]s.
`

// StartNamed runs a name server for zone until the end of the test. Its key, of a TSIG algorithm such as hmac-sha256, may
// change TXT records at or below the name allowed.
func StartNamed(t testing.TB, zone, algorithm, allowed string) *NameServer {
	t.Helper()
	if _, err := os.Stat(namedProgram); err != nil {
		t.Fatalf("%v; install Debian's bind9", err)
	}
	n := &NameServer{Addr: FreeAddr(t), Zone: zone, KeyName: "postern"}
	dir := t.TempDir()
	secret := make([]byte, 32)
	rand.Read(secret)
	encoded := base64.StdEncoding.EncodeToString(secret)
	_, port, err := net.SplitHostPort(n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	n.KeyFile = filepath.Join(dir, "tsig.key")
	put(t, n.KeyFile, encoded+"\n")
	put(t, filepath.Join(dir, "zone.db"), fmt.Sprintf(zoneFile, zone))
	config := filepath.Join(dir, "named.conf")
	put(t, config, fmt.Sprintf(namedConfig, dir, filepath.Join(dir, "session.key"), port, n.KeyName, algorithm, encoded, zone, allowed))
	n.run(t, config)
	return n
}

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run starts the server, and returns when it answers.
func (n *NameServer) run(t testing.TB, config string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log book
	cmd := exec.CommandContext(ctx, namedProgram, "-f", "-n", "1", "-c", config)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &log, &log, time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if answer, err := dns.Exchange(new(dns.Msg).SetQuestion(n.Zone+".", dns.TypeSOA), n.Addr); err == nil && len(answer.Answer) > 0 {
			return
		}
	}
	t.Fatalf("named does not answer: %s", log.String())
}

// Values lists the TXT records at a name.
func (n *NameServer) Values(t testing.TB, name string) (values []string) {
	t.Helper()
	answer, err := dns.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range answer.Answer {
		if txt, ok := record.(*dns.TXT); ok {
			values = append(values, txt.Txt...)
		}
	}
	return values
}
