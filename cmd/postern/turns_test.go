package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postern/audit"
	"postern/proxy"
	"postern/tlsup"
	"postern/web"
)

func TestTurnsAreRecordedAndCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	log, err := audit.Open(t.Context(), audit.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	at, end := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), time.Date(2027, 2, 21, 12, 0, 0, 0, time.UTC)
	turns := newTurns(log, newLogger(configOf(t), &bytes.Buffer{}))
	for _, e := range []tlsup.Event{
		{Time: at, Kind: tlsup.EventObtained, Names: []string{"a.example", "b.example"}, Serial: "03ab", Issuer: "Example CA", NotAfter: end},
		{Time: at, Kind: tlsup.EventFailed, Names: []string{"a.example"}, Err: "port 80 is closed"},
		{Time: at, Kind: tlsup.EventExpiring, Names: []string{"a.example"}, Serial: "03ab", Issuer: "Example CA", NotAfter: end, Err: "port 80 is closed"},
		{Time: at, Kind: tlsup.EventFailed, Names: []string{strings.Repeat("n", 600)}, Err: strings.Repeat("ü", 600)},
	} {
		turns.add(e)
	}
	turns.close()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	records := certificateRecords(t, path)
	for i, want := range []string{
		"obtained|a.example, b.example|serial 03ab by Example CA until 2027-02-21 12:00 UTC",
		"failed|a.example|port 80 is closed",
		"expiring|a.example|serial 03ab by Example CA until 2027-02-21 12:00 UTC: port 80 is closed",
	} {
		if got := records[i].Detail + "|" + records[i].Arg + "|" + records[i].Text; got != want || !records[i].Time.Equal(at) {
			t.Errorf("record %s at %v, want %s", got, records[i].Time, want)
		}
	}
	if long := records[3]; len(long.Arg) != proxy.MaxText || len(long.Text) > proxy.MaxText || !utf8.ValidString(long.Text) {
		t.Errorf("%d and %d octets were recorded", len(long.Arg), len(long.Text))
	}
	checkCounts(t, turns.list(), map[string]int64{"obtained": 1, "failed": 2, "expiring": 1, "renewed": 0, "revoked": 0, "fallback": 0})
}

func checkCounts(t *testing.T, got []web.Turn, want map[string]int64) {
	t.Helper()
	counts := make(map[string]int64)
	for _, turn := range got {
		counts[turn.Kind] = turn.Count
	}
	for kind, n := range want {
		if count, ok := counts[kind]; !ok || count != n {
			t.Errorf("%s is counted %d times, want %d", kind, count, n)
		}
	}
}

func certificateRecords(t *testing.T, path string) (found []audit.Record) {
	t.Helper()
	r, err := audit.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records, err := r.Records(t.Context(), 0, 1000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		if record.Kind == proxy.KindCertificate {
			found = append(found, record)
		}
	}
	return found
}

// held is a recorder whose disk does not answer.
type held struct{ release chan struct{} }

func (h held) Record(proxy.Event) proxy.Receipt {
	<-h.release
	return nil
}

func (h held) Ready() error { return nil }

// Whoever looks after certificates must not wait for a disk: what the queue cannot take is told in the log.
func TestTurnsNeverWait(t *testing.T) {
	out := &logBuffer{}
	stuck := held{make(chan struct{})}
	turns := newTurns(stuck, newLogger(configOf(t), out))
	for range turnQueue + 2 { // one more is in the recorder's hands
		turns.add(tlsup.Event{Kind: tlsup.EventRenewed, Names: []string{"a.example"}})
	}
	if !strings.Contains(string(out.bytes()), "a certificate's event is not recorded") {
		t.Errorf("the log says %s", out.bytes())
	}
	close(stuck.release)
	turns.close()
	checkCounts(t, turns.list(), map[string]int64{"renewed": turnQueue + 2})
}
