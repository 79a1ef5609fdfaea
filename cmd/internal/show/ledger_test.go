package show

import (
	"bytes"
	"testing"
	"time"

	"postern/audit"
	"postern/proxy"
)

// What the ledger keeps of messages is shown a line a field, and the proxy's own question as its own.
func TestLedger(t *testing.T) {
	records := []audit.Record{
		{Kind: proxy.KindAsked, Verb: "UIDL", Status: "+OK", Octets: 24, Lines: 2, Side: proxy.SideProxy, Detail: "unique_ids", Duration: time.Millisecond},
		{Kind: proxy.KindOpened, Verb: "RETR", Message: 1, UID: "0001", Announced: 5000},
		{Kind: proxy.KindCommand, Verb: "RETR", Arg: "1", Message: 1, UID: "0001", Announced: 5000, Status: "+OK", Text: "5000 octets", Octets: 5010,
			Lines: 90, Duration: time.Millisecond, Mail: &audit.Mail{SHA256: "5feceb66", MessageID: "<1@x>", From: "Mallory <m@x>" + hostile,
				Date: "Tue, 24 Nov 2026 01:02:03 +0000", Subject: "x\nSHA-256: forged"}},
		{Kind: proxy.KindCommand, Verb: "RETR", Arg: "2", Message: 2, Status: "+OK", Partial: true, Announced: 70_000, Octets: 100, Lines: 2,
			Duration: time.Millisecond, Mail: &audit.Mail{Subject: "cut"}},
	}
	var b bytes.Buffer
	p := &Printer{W: &b}
	for _, show := range []func(audit.Record) error{p.Record, p.Entry} {
		for _, r := range records {
			r.Session, r.Time, r.User = id, began, "ada"
			if err := show(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	safe(t, b.String())
	golden(t, "ledger.txt", b.Bytes())
}
