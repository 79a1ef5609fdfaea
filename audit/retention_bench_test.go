package audit

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/proxy"
)

// oldSessions bounds the records of BenchmarkRetention.
const oldSessions = 100_000

// fillOld writes sessions of ten records each, that many days ago, of which some hundred are open at a time.
func fillOld(b testing.TB, path string, sessions int, ago time.Duration) {
	l := openLog(b, Options{Path: path, Durability: Relaxed})
	const open = 100
	at := time.Now().Add(-ago)
	for begun := 0; begun < sessions; begun += open {
		var ids [open]proxy.SessionID
		for i := range ids {
			ids[i] = proxy.NewSessionID(at)
		}
		for step := range 10 {
			for _, id := range ids {
				ev := command(id, "RETR", "1", "+OK")
				switch step {
				case 0:
					ev = connect(id)
				case 1:
					ev = login(id, "ada", proxy.LoginOK)
				case 9:
					ev = end(id)
				default:
					ev.UID, ev.Text, ev.Octets, ev.Message = "0000000a5e5e5e5e", "4096 octets follow", 4096, 1
				}
				ev.Time = at
				at = at.Add(time.Millisecond)
				l.Record(ev)
			}
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// commitTimes records at a steady rate until ctx ends, and returns how long each commit took, in order of length.
func commitTimes(ctx context.Context, l *Log) (all []time.Duration) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			id := newID()
			l.Record(connect(id))
			for ctx.Err() == nil {
				began := time.Now()
				l.Record(command(id, "NOOP", "", "+OK")).Wait()
				took := time.Since(began)
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
				sleep(ctx, 20*time.Millisecond-took)
			}
			l.Record(end(id))
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all
}

func at99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// BenchmarkRetention deletes, or thins, a million records while eight sessions wait for 50 commits a second each.
func BenchmarkRetention(b *testing.B) {
	for name, rules := range map[string]Rules{"delete": {Sessions: 365 * day}, "thin": {Addresses: 90 * day, Users: 90 * day}} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "audit.db")
			fillOld(b, path, oldSessions, 400*day)
			l := openLog(b, Options{Path: path, Retention: rules})
			idle, cancel := context.WithTimeout(b.Context(), 5*time.Second)
			quiet := commitTimes(idle, l)
			cancel()
			for b.Loop() {
				running, cancel := context.WithCancel(b.Context())
				began := time.Now()
				var took []Taken
				var err error
				go func() {
					defer cancel()
					took, err = l.Retain(b.Context(), "")
				}()
				busy := commitTimes(running, l)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(took[0].Records)/time.Since(began).Seconds(), "records/s")
				for unit, d := range map[string]time.Duration{"p99-ms": at99(busy), "max-ms": busy[len(busy)-1], "p99-quiet-ms": at99(quiet)} {
					b.ReportMetric(float64(d)/float64(time.Millisecond), unit)
				}
				if len(took) > 0 {
					b.Logf("%s; %d commits waited for", shorts(took), len(busy))
				}
			}
		})
	}
}
