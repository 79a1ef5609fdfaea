package audit

import (
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"
	"time"

	"postern/proxy"
)

// BenchmarkOne is one session alone: every command waits for a commit of its own.
func BenchmarkOne(b *testing.B) {
	l := openLog(b, Options{})
	id := newID()
	keep(b, l, connect(id))
	b.ReportAllocs()
	for b.Loop() {
		keep(b, l, command(id, "NOOP", "", "+OK"))
	}
}

// BenchmarkMany is 64 sessions at once, which share commits. An operation is one command of each.
func BenchmarkMany(b *testing.B) {
	l := openLog(b, Options{})
	var ids [64]proxy.SessionID
	for i := range ids {
		ids[i] = newID()
		keep(b, l, connect(ids[i]))
	}
	b.ReportAllocs()
	for b.Loop() {
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() { l.Record(command(id, "NOOP", "", "+OK")).Wait() })
		}
		wg.Wait()
	}
	h := l.Health()
	b.ReportMetric(float64(h.Records)/float64(h.Commits), "records/commit")
}

// BenchmarkRelaxed is how fast the writer is when nobody waits.
func BenchmarkRelaxed(b *testing.B) {
	l := openLog(b, Options{Durability: Relaxed})
	id := newID()
	keep(b, l, connect(id))
	ev := command(id, "RETR", "1", "+OK")
	ev.UID, ev.Text, ev.Octets = "0000000a5e5e5e5e", "4096 octets follow", 4096
	b.ReportAllocs()
	for b.Loop() {
		l.Record(ev)
	}
}

// BenchmarkSeal is what a record costs more than its row because the log is provable.
func BenchmarkSeal(b *testing.B) {
	row := fullRow(proxy.KindCommand, "RETR")
	e := newEncoder([32]byte{})
	values := make([]driver.Value, 0, 2)
	var s seed
	b.ReportAllocs()
	for b.Loop() {
		e.seal(row, &s)
		values = e.appendSeal(values[:0])
	}
}

// benchRecords is how large the log is that BenchmarkVerify makes.
const benchRecords = 1_000_000

// BenchmarkVerify is a whole verification of a million records, of sessions as most are: each logs in, reads three messages and goes.
// Making them takes longer than one verification.
func BenchmarkVerify(b *testing.B) {
	l := openLog(b, Options{Durability: Relaxed})
	for n := 0; l.Health().LastSeq < benchRecords; n++ {
		playRead(l, n)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	used, records, began := processorTime(b), 0.0, time.Now()
	for b.Loop() {
		v := wantGood(b, VerifyOptions{Path: l.opts.Path, Full: true})
		records += float64(v.Records)
	}
	b.ReportMetric(records/time.Since(began).Seconds(), "records/s")
	b.ReportMetric(float64(processorTime(b)-used)/records, "cpu-ns/record")
}

// playRead records such a session, of eleven records.
func playRead(l *Log, n int) {
	id := newID()
	l.Record(connect(id))
	l.Record(command(id, "USER", fmt.Sprint("user", n%500), "+OK"))
	l.Record(login(id, fmt.Sprint("user", n%500), proxy.LoginOK))
	l.Record(command(id, "STAT", "", "+OK"))
	for m := range int64(3) {
		opened, read := command(id, "RETR", fmt.Sprint(m+1), ""), command(id, "RETR", fmt.Sprint(m+1), "+OK")
		opened.Kind, opened.Message, opened.UID = proxy.KindOpened, m+1, "0000000a5e5e5e5e"
		read.Message, read.UID, read.Text, read.Octets, read.Lines = m+1, "0000000a5e5e5e5e", "4096 octets follow", 4096, 80
		l.Record(opened)
		l.Record(read)
	}
	l.Record(command(id, "QUIT", "", "+OK"))
	l.Record(end(id))
}
