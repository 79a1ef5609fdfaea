package audit

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postern/proxy"
)

// storied is a closed log in which everything has happened: sessions of all sorts, retention, holds, two runs.
type storied struct {
	path    string
	last    int64
	deleted run // the records that retention deleted, the second block of the log among them
}

// stroll records one session with all that can be told of one.
func stroll(l *Log, n int, at time.Time) {
	id := proxy.NewSessionID(at)
	begin := connect(id)
	begin.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 4711)
	begin.TLS.Subject, begin.TLS.SHA256 = fmt.Sprintf("CN=user%d", n), "abcd"
	begin.BackendTLS = &proxy.TLS{Version: "TLS 1.2", Verified: "name:mail"}
	retr := command(id, "RETR", "1", "+OK")
	retr.Text, retr.Message, retr.UID, retr.Announced, retr.Octets, retr.Lines, retr.Duration = "follows", 1, "uid1", 100, 102, 3, time.Second
	retr.Mail = &proxy.Mail{SHA256: "00ff", MessageID: "<1@example.org>", From: "ann", Date: "today", Subject: "hello"}
	cut := retr
	cut.Partial, cut.Local, cut.Code, cut.Mail = true, true, "SYS/TEMP", nil
	fate := proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindDelete, Message: 1, UID: "uid1", Detail: proxy.DeleteCommitted}
	anomaly := proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindAnomaly, Detail: "line_too_long", Side: proxy.SideClient}
	opened := proxy.Event{Session: id, Time: time.Now(), Kind: proxy.KindOpened, Message: 1}
	user := fmt.Sprintf("user%d", n)
	for _, ev := range []proxy.Event{begin, login(id, "eve", proxy.LoginFailed), login(id, user, proxy.LoginOK), opened, retr, opened, cut,
		dele(id, 1), anomaly, {Session: id, Time: time.Now(), Kind: proxy.KindIntent, Count: 1}, command(id, "QUIT", "", "+OK"), fate, end(id)} {
		ev.Time = at
		at = at.Add(time.Second)
		l.Record(ev)
	}
}

func tell(t testing.TB, l *Log) {
	t.Helper()
	keep(t, l,
		proxy.Event{Time: time.Now(), Kind: proxy.KindRefused, Peer: netip.MustParseAddrPort("[2001:db8::1]:0"), Listener: "pop3", Detail: "silent", Count: 3, Duration: time.Minute},
		proxy.Event{Time: time.Now(), Kind: proxy.KindCertificate, Detail: "obtained", Arg: "pop.example.org", Text: "serial 1"},
		proxy.Event{Time: time.Now(), Kind: proxy.KindBackend, Detail: "down", Text: "connection refused"},
		proxy.Event{Time: time.Now(), Kind: proxy.KindConfig, Arg: "durability", Text: "relaxed"},
		proxy.Event{Time: time.Now(), Kind: proxy.KindAccess, User: "root", Verb: "tail", Arg: "--user ada", Count: 7},
		proxy.Event{Time: time.Now(), Kind: proxy.KindState, Detail: "space_low", Text: "80 %"})
}

// newStoried makes such a log: the sessions of more than a year ago were deleted, those of a hundred days ago have lost
// what they can lose.
func newStoried(t testing.TB) *storied {
	t.Helper()
	s := &storied{path: filepath.Join(t.TempDir(), "audit.db"), deleted: run{138, 514}}
	rules := Rules{Sessions: 365 * day, Messages: 30 * day, Addresses: 30 * day, Users: 30 * day}
	l := openLog(t, Options{Path: s.path})
	tell(t, l)
	for n := range 50 {
		switch {
		case n >= 10 && n < 39: // the records 138 to 514
			stroll(l, n, time.Now().Add(-400*day))
		case n >= 41 && n < 45:
			stroll(l, n, time.Now().Add(-100*day))
		default:
			stroll(l, n, time.Now())
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, Options{Path: s.path, Retention: rules})
	for n := range 4 {
		h, err := l.AddHold(t.Context(), Hold{By: "root", Scope: Scope{User: fmt.Sprint("held", n)}, Reason: "a lawsuit"})
		if n == 2 && err == nil {
			_, err = l.ReleaseHold(t.Context(), h.ID, "root", "it is over")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	retain(t, l)
	tell(t, l)
	stroll(l, 200, time.Now())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(ask(t, s.path, "SELECT max(seq) FROM records"), &s.last)
	return s
}

// verdict verifies the log at path.
func verdict(t testing.TB, o VerifyOptions) *Verdict {
	t.Helper()
	v, err := Verify(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wantGood verifies a log that is as it was written.
func wantGood(t testing.TB, o VerifyOptions) *Verdict {
	t.Helper()
	v := verdict(t, o)
	for _, f := range v.Findings {
		t.Errorf("a good log: %v", f)
	}
	return v
}

func TestAGoodLogVerifies(t *testing.T) {
	s := newStoried(t)
	v := wantGood(t, VerifyOptions{Path: s.path, Full: true})
	if v.Last != s.last || v.Records != s.last-377 || v.Deleted != 377 || v.Thinned == 0 || v.Sessions != 22 ||
		v.Unsigned != 0 || v.Checkpoints == 0 || v.Key == "" || v.Key != v.FirstKey {
		t.Errorf("%+v", v)
	}
	if _, err := os.Stat(VerifiedPath(s.path)); err == nil {
		t.Error("it left a checkpoint that nobody asked for")
	}
}

// TestOctetsThatAreNoTextAreNoAlteration keeps a client from making a log look altered by what it sends.
func TestOctetsThatAreNoTextAreNoAlteration(t *testing.T) {
	const any = "\xff\x00\ufffd\u2028<\"\\ufffd\xf0\x9f"
	l := openLog(t, Options{})
	id := newID()
	up := connect(id)
	up.TLS = &proxy.TLS{Version: any, SNI: any, ALPN: any, Subject: any, SHA256: "00"}
	up.BackendTLS = up.TLS
	keep(t, l, up, command(id, "USER", any, "+OK"), proxy.Event{Kind: proxy.KindEnd, Session: id, Time: time.Now(), Side: any, Detail: any})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if v := wantGood(t, VerifyOptions{Path: l.opts.Path, Full: true}); v.Sessions != 1 {
		t.Errorf("%d sessions add up", v.Sessions)
	}
}

func TestSameFacts(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{`{"sni":"a\ufffdb"}`, "{\"sni\":\"a\ufffdb\"}", true}, {`{"sni":"a"}`, `{"sni":"b"}`, false},
		{`{"sni":"a"}`, `{"sni":"a","resumed":true}`, false}, {`{"sni":"a"}`, `nonsense`, false},
	} {
		if got := sameFacts(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
	if sameFacts(nil, `{"sni":"a"}`) || sameFacts(`{"sni":"a"}`, nil) {
		t.Error("facts are the same as none")
	}
}
