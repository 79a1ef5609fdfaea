package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// trial is one measurement under way.
type trial struct {
	target
	drops map[string]*maildrop
	meter meter // of the peer
	span  time.Duration
	idle  int           // sessions of mode idle, and
	rest  time.Duration // how long they are left alone
	meet  func()        // returns when all that are measured together have come here; nil: alone
}

// settle is how long a peer may still tidy up before its CPU is read.
const settle = 50 * time.Millisecond

// tally is what one worker did.
type tally struct {
	work  int64
	times []time.Duration // of its operations
	err   error
}

// worker does one operation, and tells how much work it was.
type worker func() (int64, error)

// measure lets workers work side by side until the span is over, and finishes what is under way. Whatever was begun
// is counted, as work and as CPU.
func (t *trial) measure(workers []worker) (sample, error) {
	tallies := make([]tally, len(workers))
	before, err := t.meter.cpu()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	var running sync.WaitGroup
	for i, work := range workers {
		running.Go(func() { tallies[i].fill(work, began.Add(t.span)) })
	}
	running.Wait()
	return t.sum(tallies, time.Since(began), before)
}

func (t *tally) fill(work worker, end time.Time) {
	for began := time.Now(); began.Before(end); {
		n, err := work()
		if err != nil {
			t.err = err
			return
		}
		now := time.Now()
		t.work += n
		t.times = append(t.times, now.Sub(began))
		began = now
	}
}

// sum makes a sample of what the workers did.
func (t *trial) sum(tallies []tally, wall, before time.Duration) (sample, error) {
	return sumOf(tallies, wall, before, t.meter.cpu)
}

func sumOf(tallies []tally, wall, before time.Duration, cpu func() (time.Duration, error)) (s sample, err error) {
	time.Sleep(settle)
	after, err := cpu()
	errs := []error{err}
	var times []time.Duration
	for _, one := range tallies {
		s.Work += one.work
		times = append(times, one.times...)
		errs = append(errs, one.err)
	}
	slices.Sort(times)
	s.CPU, s.Wall, s.P50, s.P99 = after-before, wall, percentile(times, 0.50), percentile(times, 0.99)
	if err := first(errs); err != nil {
		return s, err
	}
	if s.Work == 0 {
		return s, errors.New("no work was done")
	}
	return s, nil
}

// first returns the first error: when a peer breaks, the others are its echo.
func first(errs []error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// short is a workload of whole sessions. Clients come from several addresses, since a peer may see the end of a session
// when the next has begun: nobody's limit of sessions from one address is reached.
func short(clients int) func(*trial) (sample, error) {
	return func(t *trial) (sample, error) {
		var workers []worker
		var warm sync.WaitGroup
		errs := make([]error, clients)
		for i := range clients {
			user := fmt.Sprint(small, "-", i)
			script := t.drops[small].shortSession(user)
			from := net.IPv4(127, 0, 0, byte(1+i/20))
			work := func() (int64, error) { return 1, t.session(from, script) }
			warm.Go(func() { _, errs[i] = work() })
			workers = append(workers, work)
		}
		if warm.Wait(); first(errs) != nil {
			return sample{}, first(errs)
		}
		return t.measure(workers)
	}
}

func (t *trial) session(from net.IP, script []exchange) error {
	c, err := t.dial(from)
	if err != nil {
		return err
	}
	if err := c.play(script); err != nil {
		c.conn.Close()
		return err
	}
	return c.quit()
}

// shortSession is all that a client says in a short session but QUIT.
func (d *maildrop) shortSession(user string) []exchange {
	script := append(loginAs(user), exchange{[]byte("STAT\r\n"), d.stat}, exchange{[]byte("UIDL\r\n"), d.uidl})
	for n, m := range d.messages {
		script = append(script, exchange{fmt.Appendf(nil, "RETR %d\r\n", n+1), m.retr})
	}
	return script
}

// operation makes the worker of a session that is logged in to d.
type operation func(c *client, d *maildrop) worker

// steady is a workload of sessions that do one thing over and over.
func steady(sessions int, kind string, op operation) func(*trial) (sample, error) {
	return func(t *trial) (s sample, err error) {
		clients, err := t.logins(sessions, kind)
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, quitAll(clients)) }()
		var workers []worker
		for _, c := range clients {
			work := op(c, t.drops[kind])
			for range 3 { // warm
				if _, err := work(); err != nil {
					return s, err
				}
			}
			workers = append(workers, work)
		}
		return t.measure(workers)
	}
}

// logins opens n sessions.
func (t *trial) logins(n int, kind string) (clients []*client, err error) {
	return t.loginsAfter(0, n, kind)
}

// loginsAfter opens n sessions beside others that there are. Each user has a few, and so has each of the client's
// addresses: no peer's default limits are reached.
func (t *trial) loginsAfter(others, n int, kind string) (clients []*client, err error) {
	const perUser = 20
	clients, errs := make([]*client, n), make([]error, n)
	var running sync.WaitGroup
	atOnce := make(chan struct{}, 16)
	for i := range n {
		atOnce <- struct{}{}
		running.Go(func() {
			defer func() { <-atOnce }()
			who := 1 + (others+i)/perUser
			clients[i], errs[i] = t.login(fmt.Sprint(kind, "-", who), net.IPv4(127, 0, byte(who>>8), byte(who)))
		})
	}
	if running.Wait(); first(errs) != nil {
		closeAll(clients)
		return nil, first(errs)
	}
	return clients, nil
}

func closeAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.conn.Close()
		}
	}
}

// quitAll ends sessions in good order, unless one fails.
func quitAll(clients []*client) error {
	defer closeAll(clients)
	for _, c := range clients {
		if err := c.quit(); err != nil {
			return err
		}
	}
	return nil
}

// retrieve reads the messages of a maildrop one after the other; its work is octets.
func retrieve(c *client, d *maildrop) worker {
	next := 0
	return func() (int64, error) {
		m := d.messages[next%len(d.messages)]
		err := c.exchange(exchange{fmt.Appendf(nil, "RETR %d\r\n", next%len(d.messages)+1), m.retr})
		next++
		return m.octets, err
	}
}

// chat gives one small command after the other; its work is commands.
func chat(c *client, d *maildrop) worker {
	script := []exchange{
		{[]byte("STAT\r\n"), d.stat}, {[]byte("LIST 1\r\n"), d.messages[0].list},
		{[]byte("UIDL 2\r\n"), d.messages[1].uidl}, {[]byte("NOOP\r\n"), ok},
	}
	next := 0
	return func() (int64, error) {
		e := script[next%len(script)]
		next++
		return 1, c.exchange(e)
	}
}

// pipeline gives a run of commands in one write; its work is commands.
func pipeline(c *client, d *maildrop) worker {
	var all exchange
	for n, m := range d.messages {
		all.send = fmt.Appendf(all.send, "UIDL %d\r\n", n+1)
		all.want = append(all.want, m.uidl...)
	}
	told := c.capabilities() // a peer may want to know that the backend can
	return func() (int64, error) {
		if told != nil {
			return 0, told
		}
		return int64(len(d.messages)), c.exchange(all)
	}
}
