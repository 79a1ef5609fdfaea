package audit

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkBackup copies a log of half a million records while 16 sessions record, and tells how long one in a hundred of
// their commands waited: without a backup, while it is copied, and while the copy is verified.
func BenchmarkBackup(b *testing.B) {
	l := openLog(b, Options{})
	for range 5000 {
		id := newID()
		l.Record(connect(id))
		for range 98 {
			l.Record(command(id, "NOOP", strings.Repeat("x", 300), "+OK"))
		}
		l.Record(end(id))
	}
	keep(b, l, connect(newID()))
	p99 := func(waits []time.Duration) float64 {
		return float64(waits[len(waits)*99/100].Microseconds()) / 1000
	}
	stop := loaded(b, l, 16)
	time.Sleep(3 * time.Second)
	alone := p99(stop())
	for b.Loop() {
		stop = loaded(b, l, 16)
		began, copied := time.Now(), time.Duration(0)
		c, err := Backup(b.Context(), BackupOptions{Path: l.opts.Path, Dest: filepath.Join(b.TempDir(), "copy.db"), Report: func(verifying bool, _ Progress) {
			if verifying && copied == 0 {
				copied = time.Since(began)
				b.ReportMetric(p99(stop()), "p99-copying-ms")
				stop = loaded(b, l, 16)
			}
		}})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(p99(stop()), "p99-verifying-ms")
		b.ReportMetric(float64(c.Octets)/copied.Seconds()/1e6, "MB/s")
	}
	b.ReportMetric(alone, "p99-alone-ms") // Loop forgets what was told before
}
