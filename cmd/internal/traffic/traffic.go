// Package traffic plays mail clients: gentle, believable sessions through a POP3 proxy, so that a demo's
// dashboard lives.
//
// Run begins a session every one to three seconds until its context ends. A session is one user's habit
// (habit.go): somebody checks for mail, another reads and deletes, one mistypes a password, an old program asks
// for LAST, a connection drops in the middle of a message. Half of them speak TLS from the start, half STLS.
//
// What the clients read is thrown away, and their errors count for nothing: this is scenery, not a test.
package traffic

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	maxSessions = 8 // at once
	sessionTime = 30 * time.Second
)

// User is somebody whose mail is read.
type User struct {
	Name, Password string
	Host           net.IP // address the user's sessions come from; nil for any
}

// Options say who connects where.
type Options struct {
	POP3S, POP3 string      // addresses of the proxy
	TLS         *tls.Config // trusts the proxy's certificate
	Users       []User
	Seed        uint64                           // the same seed tells the same story
	Pace        func(r *rand.Rand) time.Duration // pause between sessions; nil for one to three seconds
}

// Run plays sessions until ctx ends, and returns when the last one is over.
func Run(ctx context.Context, o Options) {
	if o.Pace == nil {
		o.Pace = func(r *rand.Rand) time.Duration { return time.Second + upTo(r, 2*time.Second) }
	}
	random := rand.New(rand.NewPCG(o.Seed, o.Seed))
	slots := make(chan struct{}, maxSessions)
	var running sync.WaitGroup
	defer running.Wait()
	var order []int // users in turn, so that one maildrop is seldom asked for twice at once
	for n := 0; ; n++ {
		if len(order) == 0 {
			order = random.Perm(len(o.Users))
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		p := play{
			options: o,
			user:    o.Users[order[0]],
			habit:   choose(random, n),
			stls:    random.IntN(2) == 0,
			random:  rand.New(rand.NewPCG(random.Uint64(), o.Seed)),
		}
		order = order[1:]
		running.Go(func() {
			defer func() { <-slots }()
			p.run(ctx)
		})
		if !pause(ctx, o.Pace(random)) {
			return
		}
	}
}

// play is one session.
type play struct {
	options Options
	user    User
	habit   habit
	stls    bool
	random  *rand.Rand
}

func (p *play) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sessionTime)
	defer cancel()
	c, err := p.dial(ctx)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	defer c.conn.Close()
	c.think = func() bool { return pause(ctx, 50*time.Millisecond+upTo(p.random, time.Second)) }
	p.habit(c, p.user, p.random)
}

func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// pause waits, and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
