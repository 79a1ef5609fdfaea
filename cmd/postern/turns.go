package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"postern/proxy"
	"postern/tlsup"
	"postern/web"
)

// turnQueue is how many turns may wait for the log; there are a few a day.
const turnQueue = 256

// turnKinds are all that can become of a certificate, in the order of its life.
var turnKinds = []tlsup.EventKind{tlsup.EventFallback, tlsup.EventObtained, tlsup.EventRenewed, tlsup.EventReloaded, tlsup.EventRefused,
	tlsup.EventFailed, tlsup.EventExpiring, tlsup.EventExpired, tlsup.EventRevoked}

// turns keeps what becomes of certificates: a record of each turn in the audit log, and a count of each kind for the
// metrics. Certificates tell it in their own goroutines, which must not wait for a disk, so a goroutine of its own
// records.
type turns struct {
	recorder proxy.Recorder
	log      *slog.Logger
	queue    chan tlsup.Event
	done     chan struct{}
	running  sync.WaitGroup

	mu     sync.Mutex
	counts map[tlsup.EventKind]int64
}

func newTurns(recorder proxy.Recorder, log *slog.Logger) *turns {
	t := &turns{recorder: recorder, log: log, queue: make(chan tlsup.Event, turnQueue), done: make(chan struct{}),
		counts: make(map[tlsup.EventKind]int64)}
	t.running.Go(t.run)
	return t
}

// add takes a turn without waiting.
func (t *turns) add(e tlsup.Event) {
	t.mu.Lock()
	t.counts[e.Kind]++
	t.mu.Unlock()
	select {
	case t.queue <- e:
	default:
		t.log.Error("a certificate's event is not recorded: too many wait for the log", "kind", e.Kind, "names", e.Names)
	}
}

// close records what waits. The certificates are closed by then, and the log is not.
func (t *turns) close() {
	close(t.done)
	t.running.Wait()
}

func (t *turns) run() {
	for {
		select {
		case e := <-t.queue:
			t.recorder.Record(recordOf(e))
		case <-t.done:
			for len(t.queue) > 0 {
				t.recorder.Record(recordOf(<-t.queue))
			}
			return
		}
	}
}

// list counts every kind, those that never happened too, so that a first one is seen as a change.
func (t *turns) list() (all []web.Turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, kind := range turnKinds {
		all = append(all, web.Turn{Kind: string(kind), Count: t.counts[kind]})
	}
	return all
}

func recordOf(e tlsup.Event) proxy.Event {
	return proxy.Event{Kind: proxy.KindCertificate, Time: e.Time, Detail: string(e.Kind),
		Arg: cut(strings.Join(e.Names, ", ")), Text: cut(factsOf(e))}
}

// factsOf is the error of what went wrong, and the certificate that is concerned.
func factsOf(e tlsup.Event) string {
	var facts []string
	if e.Serial != "" {
		facts = append(facts, identity(e.Serial, e.Issuer, e.NotAfter))
	}
	if e.Err != "" {
		facts = append(facts, e.Err)
	}
	return strings.Join(facts, ": ")
}

// identity names one certificate as "serial 03ab by Example CA until 2027-02-21 12:00 UTC".
func identity(serial, issuer string, end time.Time) string {
	return fmt.Sprintf("serial %s by %s until %s", serial, issuer, end.UTC().Format("2006-01-02 15:04 UTC"))
}

// cut bounds text as every string of a record is bounded.
func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), proxy.MaxText)], "")
}
