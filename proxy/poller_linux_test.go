package proxy

import (
	"os"
	"runtime/metrics"
	"testing"
	"time"
)

// A session that the poller cannot take, for the kernel is short of something, keeps its goroutine and does not try over
// and over.
func TestNoPollerForASession(t *testing.T) {
	w := newWorld(t, nil)
	w.server.poller.fd = -1
	w.server.poller.epoll, _ = os.Open(os.DevNull)
	c := w.login()
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
