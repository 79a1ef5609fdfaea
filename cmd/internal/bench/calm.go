package main

import (
	"errors"
	"sync"
	"time"
)

// paced is a workload of sessions that each give a command so many times a second. The time of a command runs from when
// it was sent, or from when it should have been, if the one before was late.
func paced(sessions int, perSecond float64) func(*trial) (sample, error) {
	return func(t *trial) (s sample, err error) {
		clients, err := t.logins(sessions, small)
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, quitAll(clients)) }()
		before, err := t.meter.cpu()
		if err != nil {
			return s, err
		}
		began := time.Now()
		tallies := paceAll(clients, t.drops[small], perSecond, t.span)
		return t.sum(tallies, time.Since(began), before)
	}
}

// paceAll lets clients speak for a while, one after the other within the time that each has for a command.
func paceAll(clients []*client, d *maildrop, perSecond float64, span time.Duration) []tally {
	every := time.Duration(float64(time.Second) / perSecond)
	began := time.Now()
	tallies := make([]tally, len(clients))
	var running sync.WaitGroup
	for i, c := range clients {
		running.Go(func() {
			phase := every * time.Duration(i) / time.Duration(len(clients))
			tallies[i].pace(chat(c, d), began.Add(phase), began.Add(span), every)
		})
	}
	running.Wait()
	return tallies
}

func (t *tally) pace(work worker, due, end time.Time, every time.Duration) {
	for ; due.Before(end); due = due.Add(every) {
		from := due
		if early := time.Until(due); early > 0 {
			time.Sleep(early)
			from = time.Now() // a timer that is late is not the peer's fault
		}
		n, err := work()
		if err != nil {
			t.err = err
			return
		}
		t.work += n
		t.times = append(t.times, time.Since(from))
	}
}

// idle measures how much memory logged-in sessions take that say nothing, by what the peer has before they come and
// when they have been there for a while. No other peer starts or ends between the two: pages of a common library count in
// part for each who has it.
func idle(t *trial) (s sample, err error) {
	warm, err := t.logins(2, small)
	if err == nil {
		err = quitAll(warm)
	}
	if err != nil {
		return s, err
	}
	t.meetOthers()
	before, err := t.meter.memory()
	if err != nil {
		return s, err
	}
	began := time.Now()
	clients, err := t.logins(t.idle, small)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, quitAll(clients)) }()
	time.Sleep(t.rest)
	after, err := t.meter.memory()
	t.meetOthers()
	if err != nil {
		return s, err
	}
	s = sample{Wall: time.Since(began), Work: int64(t.idle), Bytes: after - before}
	for _, c := range clients { // they must be alive
		if err := c.exchange(exchange{[]byte("STAT\r\n"), t.drops[small].stat}); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (t *trial) meetOthers() {
	if t.meet != nil {
		t.meet()
	}
}

// rendezvous is where those meet who are measured together.
type rendezvous struct {
	mu      sync.Mutex
	parties int           // who may still come
	waiting int           // of them, who are here
	open    chan struct{} // closed when all are
}

func newRendezvous(parties int) *rendezvous {
	return &rendezvous{parties: parties, open: make(chan struct{})}
}

// meet returns when all parties have come.
func (r *rendezvous) meet() {
	r.mu.Lock()
	open := r.open
	r.waiting++
	r.releaseLocked()
	r.mu.Unlock()
	<-open
}

// leave is for a party that comes no more.
func (r *rendezvous) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parties--
	r.releaseLocked()
}

func (r *rendezvous) releaseLocked() {
	if r.waiting < r.parties || r.waiting == 0 {
		return
	}
	close(r.open)
	r.waiting, r.open = 0, make(chan struct{})
}
