package show

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"postern/audit"
	"postern/proxy"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	began = time.Date(2025, 11, 23, 12, 0, 0, 0, time.UTC)
	id, _ = proxy.ParseSessionID("01h2j3k4m5n6p")
	tls   = &audit.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", SNI: "pop.example.org", ALPN: "pop3",
		Handshake: 12 * time.Millisecond, Serial: "03ab", JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1", Subject: "CN=ada" + hostile, SHA256: "5feceb66"}
	behind = &audit.TLS{Version: "TLS 1.0", Cipher: "TLS_RSA_WITH_AES_128_CBC_SHA", Legacy: true, Serial: "01", Handshake: 3 * time.Millisecond}
)

// hostile is what attackers put into names and greetings: clear the screen, set the title, reorder text,
// hide letters, forge a line, invalid UTF-8, and an escape of ours.
const hostile = "\x1b[2J\x1b]0;owned\a\u202egnp.exe\u2066\u200b\r\n12:00 C: QUIT\x9b\xff\x00\\x1b\u00a0\U000e0041"

// story is a session with one record of every kind.
func story() []audit.Record {
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	peer := netip.MustParseAddrPort("[2001:db8::7]:51234")
	records := []audit.Record{
		{Kind: proxy.KindStart, Time: at(-5000), Detail: "v1.0.0 strict"},
		{Kind: proxy.KindConnect, Time: at(0), Listener: "pop3", Backend: "mail:110", Text: "POP3 ready " + hostile, BackendTLS: behind},
		{Kind: proxy.KindCommand, Time: at(9), Verb: "STLS", Status: "+OK", Text: "begin TLS", Local: true, Duration: 100 * time.Microsecond},
		{Kind: proxy.KindTLS, Time: at(20), TLS: tls},
		{Kind: proxy.KindCommand, Time: at(30), Verb: "USER", Arg: "ada" + hostile, Status: "+OK", Duration: 1200 * time.Microsecond},
		{Kind: proxy.KindCommand, Time: at(40), Verb: "PASS", Arg: proxy.Redacted, Status: "-ERR", Code: "AUTH", Text: "no", User: "ada", Mechanism: "USER", Login: proxy.LoginFailed, Duration: 2 * time.Second},
		{Kind: proxy.KindCommand, Time: at(2050), Verb: "AUTH", Arg: "PLAIN " + proxy.Redacted, Status: "+OK", Text: "hello", User: "ada", Mechanism: "PLAIN", Login: proxy.LoginOK, Duration: 15 * time.Millisecond},
		{Kind: proxy.KindOpened, Time: at(2100), Verb: "RETR", Message: 1, UID: "0001"},
		{Kind: proxy.KindCommand, Time: at(2180), Verb: "RETR", Arg: "1", Message: 1, UID: "0001", Status: "+OK", Text: "1234567 octets", Octets: 1234567, Lines: 16000, Duration: 80 * time.Millisecond},
		{Kind: proxy.KindAnomaly, Time: at(2200), Side: proxy.SideBackend, Detail: "unasked_octets"},
		{Kind: proxy.KindCommand, Time: at(2300), Verb: "DELE", Arg: "1", Message: 1, UID: "0001", Status: "+OK", Duration: time.Millisecond},
		{Kind: proxy.KindIntent, Time: at(2400), Verb: "QUIT", Count: 1},
		{Kind: proxy.KindCommand, Time: at(2410), Verb: "QUIT", Duration: time.Millisecond},
		{Kind: proxy.KindDelete, Time: at(2420), Message: 1, UID: "0001", Detail: proxy.DeleteUnknown},
		{Kind: proxy.KindEnd, Time: at(2500), Side: proxy.SideBackend, Detail: "timeout", Duration: 2500 * time.Millisecond, Received: 120, Sent: 1_240_000},
		{Kind: proxy.KindRefused, Time: at(90_000_000), Count: 12, Detail: "handshake", Peer: netip.AddrPortFrom(peer.Addr(), 0), Listener: "pop3s"},
		{Kind: proxy.KindGap, Time: at(90_000_001), Count: 1},
		{Kind: proxy.KindCertificate, Time: at(90_000_002), Detail: "renewed", Arg: "pop.example.org", Text: "serial 03ab, by Example CA, until 2026-02-21 12:00 UTC"},
		{Kind: proxy.KindCertificate, Time: at(90_000_003), Detail: "failed", Arg: "a.example, b.example", Text: "port 80 is closed" + hostile},
		{Kind: proxy.KindBackend, Time: at(90_000_004), Detail: "down", Backend: "mail:110", Text: "connection refused"},
		{Kind: proxy.KindBackend, Time: at(90_000_005), Detail: "up", Backend: "mail:110"},
		{Kind: proxy.KindConfig, Time: at(90_000_006), Arg: "backend-tls", Text: "stls"},
		{Kind: proxy.KindAsked, Time: at(90_000_006), Verb: "UIDL", Status: "+OK", Octets: 900, Detail: "unique_ids"},
		{Kind: proxy.KindAccess, Time: at(90_000_006), Verb: "sessions", Arg: "--user=ada" + hostile, User: "grace", Count: 3, Text: "as postern"},
		{Kind: proxy.KindAccess, Time: at(90_000_006), Verb: "dashboard", Arg: "live", Peer: netip.MustParseAddrPort("127.0.0.1:4000")},
		{Kind: proxy.KindState, Time: at(90_000_006), Detail: "failing", Text: "no space left on device"},
		{Kind: proxy.KindState, Time: at(90_000_006), Detail: "recovered", Text: "no space left on device", Duration: 3 * time.Second},
		{Kind: proxy.KindState, Time: at(90_000_006), Detail: "space_low", Text: "76 % of /var/lib/postern is used"},
		{Kind: proxy.KindState, Time: at(90_000_006), Detail: "witness_refused", Arg: "witness.example.org/w1", Text: "it saw another history"},
		{Kind: proxy.KindRetention, Time: at(90_000_006), Detail: "deleted", Arg: "sessions older than 365 days", Count: 4000, Text: "17-9041"},
		{Kind: proxy.KindHold, Time: at(90_000_006), Verb: "add", Arg: "user ada", Text: "case 17", User: "grace"},
		{Kind: proxy.KindHold, Time: at(90_000_006), Verb: "release", Arg: "user ada", User: "grace", Count: 31},
		{Kind: proxy.KindKey, Time: at(90_000_006), Arg: "postern/0a+1b2c3d4e+AbCd"},
		{Kind: proxy.KindStop, Time: at(90_000_006), Detail: "durability=strict on_failure=refuse"},
		{Kind: "later", Time: at(90_000_007), Detail: "a_word", Arg: "of" + hostile},
	}
	for i := range records {
		r := &records[i]
		r.Seq = int64(i + 1)
		if outside := r.Kind == proxy.KindStart || i >= 15; outside {
			continue
		}
		r.Session, r.Peer = id, peer
		if i > 5 {
			r.User = "ada"
		}
	}
	return records
}

func sessions() []audit.Session {
	return []audit.Session{
		{ID: id, Start: began, State: audit.StateAuthorized, Peer: netip.MustParseAddrPort("[2001:db8::7]:51234"), User: "ada",
			Login: proxy.LoginOK, TLS: tls, Commands: 3},
		{ID: id - 1, Start: began, End: began.Add(3 * time.Hour), State: audit.StateEnded, Peer: netip.MustParseAddrPort("192.0.2.7:1"),
			User: "b" + hostile, Login: proxy.LoginFailed, Commands: 1200, Sent: 18_700, EndSide: proxy.SideClient, EndReason: "timeout_login"},
		{ID: id - 2, Start: began, End: began.Add(time.Millisecond), State: audit.StateEnded, Peer: netip.MustParseAddrPort("192.0.2.8:1"),
			Listener: "pop3", Backend: "mail:110", Greeting: "ready", Received: 10, Sent: 20, EndSide: proxy.SideBackend, EndReason: "refused", Partial: true},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it):\n%s", path, got)
	}
}

// safe fails when anything but a newline could act on the terminal.
func safe(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			t.Errorf("%U reaches the terminal", r)
		}
	}
}

func TestLiveView(t *testing.T) {
	var b bytes.Buffer
	p := &Printer{W: &b}
	for _, r := range story() {
		if err := p.Record(r); err != nil {
			t.Fatal(err)
		}
	}
	safe(t, b.String())
	golden(t, "live.txt", b.Bytes())
}

func TestTranscript(t *testing.T) {
	var b bytes.Buffer
	p := &Printer{W: &b}
	s := sessions()[0]
	s.End, s.EndSide, s.EndReason = began.Add(2500*time.Millisecond), proxy.SideBackend, "timeout"
	s.Listener, s.Backend, s.Mechanism, s.LoginsFailed = "pop3", "mail:110", "PLAIN", 1
	s.BackendTLS = &audit.TLS{Version: "TLS 1.2", Cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Group: "X25519", Verified: "name:mail", Serial: "0c", Resumed: true}
	s.Opened, s.Retrieved, s.Unknown, s.Anomalies, s.Octets, s.Received, s.Sent = 1, 1, 1, 1, 1234567, 120, 1240000
	if err := p.Begin(s, began); err != nil {
		t.Fatal(err)
	}
	for _, r := range story()[1:15] {
		if err := p.Entry(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Begin(sessions()[2], began); err != nil {
		t.Fatal(err)
	}
	safe(t, b.String())
	golden(t, "transcript.txt", b.Bytes())
}

func TestSessions(t *testing.T) {
	var b bytes.Buffer
	if err := (&Printer{W: &b}).Sessions(sessions(), began.Add(90*time.Second)); err != nil {
		t.Fatal(err)
	}
	safe(t, b.String())
	golden(t, "sessions.txt", b.Bytes())
}

func TestHowABackendWasVerified(t *testing.T) {
	for verified, want := range map[string]string{
		"": "NOT VERIFIED", "name:mail": "verified as mail", "pin:sha256//AA=": "verified by its key sha256//AA=",
		"name:mail,pin:sha256//AA=": "verified as mail and by its key sha256//AA=", "otherwise": "verified otherwise",
	} {
		if got := verifiedWords(&audit.TLS{Verified: verified}); got != want {
			t.Errorf("%q is told as %q, want %q", verified, got, want)
		}
	}
}

func certificates() []Certificate {
	return []Certificate{
		{Names: []string{"pop.example.org", "192.0.2.7"}, Issuer: "Example CA", KeyType: "ECDSA P-256", Serial: "03ab", Source: "acme", State: CertificateGood,
			NotAfter: began.Add(61*24*time.Hour + time.Hour), NextRenewal: began.Add(31 * 24 * time.Hour)},
		{Names: []string{"soon.example.org"}, Issuer: "Example CA", KeyType: "RSA 2048", Serial: "03ac", Source: "acme", State: CertificateExpiring,
			NotAfter: began.Add(26 * time.Hour), NextRenewal: began.Add(-time.Hour), Err: "port 80 is closed " + hostile, ErrAt: began.Add(-3 * time.Hour)},
		{Names: []string{"*.example.net"}, Source: "acme", State: CertificateAwaited, Err: "rate limited", ErrAt: began},
		{Names: []string{"old.example.org" + hostile}, Issuer: "Other CA", KeyType: "RSA 4096", Serial: "01", Source: "file", File: "/etc/postern/old.pem",
			State: CertificateExpired, NotAfter: began.Add(-50 * time.Hour)},
		{Names: []string{"localhost"}, Issuer: "Postern local authority abc", KeyType: "ECDSA P-256", Serial: "02", Source: "local", State: CertificateGood,
			NotAfter: began.Add(90 * time.Minute), NextRenewal: began.Add(time.Hour)},
	}
}

func TestCertificates(t *testing.T) {
	var b bytes.Buffer
	if err := (&Printer{W: &b}).Certificates(certificates(), began); err != nil {
		t.Fatal(err)
	}
	safe(t, b.String())
	golden(t, "certificates.txt", b.Bytes())
	var coloured bytes.Buffer
	if err := (&Printer{W: &coloured, Color: true}).Certificates(certificates(), began); err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{green, yellow, red} {
		if !strings.Contains(coloured.String(), "\x1b["+code+"m") {
			t.Errorf("nothing is painted %s:\n%s", code, coloured.String())
		}
	}
}

func TestColoursOnlyWhenAskedFor(t *testing.T) {
	var b bytes.Buffer
	p := &Printer{W: &b, Color: true}
	for _, r := range story() {
		if err := p.Record(r); err != nil {
			t.Fatal(err)
		}
	}
	plain := &bytes.Buffer{}
	q := &Printer{W: plain}
	for _, r := range story() {
		q.Record(r)
	}
	bare := b.String()
	for _, code := range []string{"0", bold, faint, red, green, yellow, cyan} {
		bare = strings.ReplaceAll(bare, "\x1b["+code+"m", "")
	}
	lines := strings.Split(bare, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if strings.Join(lines, "\n") != plain.String() || !strings.Contains(b.String(), "\x1b[32m+OK") {
		t.Errorf("colours change more than colours:\n%s", b.String())
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"plain é 日本 \"q\" 'x'":  "plain é 日本 \"q\" 'x'",
		"\x1b[31m":              `\x1b[31m`,
		"a\r\nb\tc\x00\x7f":     `a\r\nb\tc\x00\x7f`,
		"\u202e\u2066\u200b":    `\u202e\u2066\u200b`,
		"\u0085\u009b":          `\u0085\u009b`,
		"\xff\xfe caf\xe9":      `\xff\xfe caf\xe9`,
		`DOMAIN\ada`:            `DOMAIN\\ada`,
		"\ufffd \ufeff\u2028\n": `\ufffd \ufeff\u2028\n`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestJSONLinesAreSafeAndReadBack(t *testing.T) {
	var b bytes.Buffer
	print := JSONLines[audit.Record](&b)
	for _, r := range story() {
		if err := print(r); err != nil {
			t.Fatal(err)
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		var got audit.Record
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(story()[i].Arg)); got.Arg != want { // octets that are no UTF-8 become U+FFFD
			t.Errorf("read back %q, want %q", got.Arg, want)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%U reaches the terminal", r)
			}
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, s string) {
		safe(t, Escape(s))
		if fitted := fit(s, 12); len([]rune(fitted)) != 12 {
			t.Errorf("fit made %q", fitted)
		}
	})
}

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999_499: "999 kB",
		999_500: "1.0 MB", 20_000_000: "20 MB", 1 << 62: "4.6 EB"} {
		if got := Octets(n); got != want {
			t.Errorf("Octets(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 µs", 999 * time.Microsecond: "999 µs", 1234 * time.Microsecond: "1.2 ms", 15 * time.Millisecond: "15 ms",
		2340 * time.Millisecond: "2.3 s", 90 * time.Second: "1m30s", 3*time.Hour + 5*time.Minute: "3h05m"} {
		if got := Span(d); got != want {
			t.Errorf("Span(%v) = %s, want %s", d, got, want)
		}
	}
}
