package proxy

import (
	"net/netip"
	"sync"
	"time"
)

// probes counts connections that never became a session, per address, listener and reason, and records each
// count once a minute: a flood must not fill the log.
type probes struct {
	recorder Recorder
	flushing sync.Mutex // held until the counts are with the recorder

	mu     sync.Mutex
	counts map[probe]int64
	since  time.Time // of the first in counts
	timer  *time.Timer
}

type probe struct {
	addr     netip.Addr // zero: all the addresses that found no place in counts
	listener string
	reason   string
}

const (
	probeWindow = time.Minute
	probeRows   = 1024 // addresses counted apart in one window
)

func (p *probes) add(peer netip.AddrPort, listener, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.counts) == 0 {
		p.counts = make(map[probe]int64)
		p.since = time.Now()
		p.timer = time.AfterFunc(probeWindow, p.flush)
	}
	key := probe{peer.Addr(), listener, reason}
	if _, known := p.counts[key]; !known && len(p.counts) >= probeRows {
		key.addr = netip.Addr{}
	}
	p.counts[key]++
}

// flush records the counts so far.
func (p *probes) flush() {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	p.mu.Lock()
	counts, since := p.counts, p.since
	p.counts = nil
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for key, n := range counts {
		p.recorder.Record(Event{
			Kind: KindRefused, Time: since, Duration: time.Since(since), Count: n,
			Peer: netip.AddrPortFrom(key.addr, 0), Listener: key.listener, Detail: key.reason,
		})
	}
}
