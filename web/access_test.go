package web

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/audit"
	"postern/proxy"
)

// readers keeps what the dashboard records of who reads.
type readers struct {
	mu  sync.Mutex
	all []proxy.Event
}

func (r *readers) record(ev proxy.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, ev)
}

func (r *readers) events() []proxy.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]proxy.Event(nil), r.all...)
}

// TestReadersAreOnRecord has each thing of the log that somebody looks at in the log, once, before it is shown.
func TestReadersAreOnRecord(t *testing.T) {
	var kept readers
	s := newScene(t, func(o *Options) { o.Record = kept.record })
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{k.connect("ready")}, k.login()...)...)
	for range 2 { // as a page does
		var page sessionPage
		s.json("/api/sessions?user=alice&limit=1", &page)
		s.json("/api/sessions?user=alice&limit=1&before="+k.id.String(), &page)
		s.json("/api/sessions", &page)
		var one audit.Session
		s.json("/api/sessions/"+k.id.String(), &one)
		var records recordPage
		s.json("/api/sessions/"+strings.ToUpper(k.id.String())+"/records?limit=2", &records)
		next(t, s.watch(""))
		s.get("/metrics", s.addr)
		s.get("/healthz", s.addr)
	}
	want := []string{"sessions user=alice", "sessions", "session " + k.id.String(), "live"}
	got := kept.events()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d: %+v", len(got), len(want), got)
	}
	for i, ev := range got {
		if ev.Kind != proxy.KindAccess || ev.Verb != "dashboard" || ev.Arg != want[i] || !ev.Peer.Addr().IsLoopback() || ev.Time.IsZero() {
			t.Errorf("%q is on record as %+v", want[i], ev)
		}
	}
}

// TestAFloodOfReadersIsBounded in records of a window, and each new window tells again.
func TestAFloodOfReadersIsBounded(t *testing.T) {
	var a accesses
	addr := netip.MustParseAddr("127.0.0.1")
	began := time.Now()
	for _, at := range []time.Time{began, began.Add(accessWindow)} {
		told := map[string]int{}
		for n := range 10 * accessRows {
			if r := a.place(reading{addr, fmt.Sprintf("session %d", n)}, at.Add(time.Duration(n))); r != nil {
				told[r.what]++
			}
		}
		if len(told) != accessRows+1 || told[accessMore] != 1 || told["session 0"] != 1 {
			t.Errorf("%d things told, %d times that there are more", len(told), told[accessMore])
		}
	}
}
