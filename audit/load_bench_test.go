package audit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/proxy"
)

// BenchmarkSessions is sessions at once, each of which waits for every record as strict durability has it: chatty ones
// that never end, and short ones that log in, read three messages and go. An operation is one record.
func BenchmarkSessions(b *testing.B) {
	for name, play := range map[string]func(*Log, *atomic.Int64){"chatty": playChatty, "short": playShort} {
		for _, sessions := range []int{1, 8, 64, 128} {
			b.Run(fmt.Sprint(name, "/", sessions), func(b *testing.B) { benchmarkSessions(b, sessions, play) })
		}
	}
}

func benchmarkSessions(b *testing.B, sessions int, play func(l *Log, left *atomic.Int64)) {
	l := openLog(b, Options{})
	var left atomic.Int64
	left.Store(int64(b.N))
	used, before := processorTime(b), l.Health()
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for range sessions {
		all.Go(func() {
			for left.Load() > 0 {
				play(l, &left)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	used = processorTime(b) - used
	h := l.Health()
	records := float64(h.Records - before.Records)
	b.ReportMetric(float64(used.Nanoseconds())/records, "cpu-ns/record")
	b.ReportMetric(records/float64(h.Commits-before.Commits), "records/commit")
	b.ReportMetric(records/b.Elapsed().Seconds(), "records/s")
}

// playChatty plays a session that goes on while records are left.
func playChatty(l *Log, left *atomic.Int64) {
	id := proxy.NewSessionID(time.Now())
	l.Record(connect(id))
	for left.Add(-1) >= 0 {
		l.Record(command(id, "NOOP", "", "+OK")).Wait()
	}
	l.Record(end(id)).Wait()
}

// playShort plays a session as most are.
func playShort(l *Log, left *atomic.Int64) {
	id := proxy.NewSessionID(time.Now())
	l.Record(connect(id))
	say := func(ev proxy.Event) { left.Add(-1); l.Record(ev).Wait() }
	say(command(id, "USER", "ada", "+OK"))
	say(login(id, "ada", proxy.LoginOK))
	say(command(id, "STAT", "", "+OK"))
	say(command(id, "UIDL", "", "+OK"))
	for n := range int64(3) {
		opened, read := command(id, "RETR", fmt.Sprint(n+1), ""), command(id, "RETR", fmt.Sprint(n+1), "+OK")
		opened.Kind, opened.Message, read.Message, read.UID = proxy.KindOpened, n+1, n+1, fmt.Sprint("000000", n)
		say(opened)
		say(read)
	}
	say(command(id, "QUIT", "", "+OK"))
	say(end(id))
}

// processorTime is what this process has used of the processors so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
