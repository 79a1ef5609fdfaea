package proxy

import (
	"runtime/metrics"
	"syscall"
	"testing"
	"time"
)

// A session that the poller cannot take, here for want of a descriptor, keeps its goroutine and does not try over and over.
func TestNoPollerForASession(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	time.Sleep(2 * quiet)
	before := created()
	time.Sleep(time.Second)
	if n := created() - before; n > 20 {
		t.Errorf("%d goroutines were started for an idle session", n)
	}
	c.ask("NOOP", "+OK\r\n")
	time.Sleep(2 * quiet)
	w.backend.say("-ERR bye\r\n")
	c.want("-ERR bye\r\n")
	w.rowsWith("end by=backend autologout", 1)
}

// created returns how many goroutines there have been.
func created() uint64 {
	sample := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
