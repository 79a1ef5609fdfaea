package audit

import (
	"testing"

	"postern/proxy"
)

// BenchmarkCommit is one commit that 64 commands share, with whatever an event may bring.
func BenchmarkCommit(b *testing.B) {
	l := openLog(b, Options{})
	id := newID()
	keep(b, l, connect(id))
	ev := command(id, "RETR", "1", "+OK")
	ev.UID, ev.Text, ev.Octets = "0000000a5e5e5e5e", "4096 octets follow", 4096
	b.ReportAllocs()
	for b.Loop() {
		var last proxy.Receipt
		for range 64 {
			last = l.Record(ev)
		}
		if err := last.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTail is one full batch of 500 records on its way to who watches.
func BenchmarkTail(b *testing.B) {
	l := openLog(b, Options{Durability: Relaxed})
	id := newID()
	for range 2 * tailBatch {
		l.Record(command(id, "RETR", "1", "+OK"))
	}
	for l.Health().LastSeq < 2*tailBatch {
		<-l.growth()
	}
	b.ReportAllocs()
	for b.Loop() {
		for batch, err := range l.Reader().Tail(b.Context(), 0, Filter{}) {
			if err != nil || len(batch) != tailBatch {
				b.Fatalf("a batch of %d: %v", len(batch), err)
			}
			break
		}
	}
}
