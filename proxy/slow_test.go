package proxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// slowLog keeps each record a while after it was given, and none after the first keeps, unless that is -1.
type slowLog struct {
	memoryLog
	dice  *rand.Rand
	keeps int
	due   []time.Time // of what is kept
	last  time.Time   // when the last receipt is told
}

func (l *slowLog) Record(ev Event) Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := time.Now().Add(time.Duration(l.dice.IntN(40)) * time.Millisecond); at.After(l.last) {
		l.last = at
	}
	if len(l.events) == l.keeps {
		l.broken = fmt.Errorf("no more: %w", ErrNotRecorded)
		return later{l.last, l.broken}
	}
	l.events = append(l.events, ev)
	l.due = append(l.due, l.last)
	return later{l.last, nil}
}

func (l *slowLog) Kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.due) && !time.Now().Before(l.due[n]) {
		n++
	}
	return n
}

func (l *slowLog) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *slowLog) Close() {}

// later is a Receipt that is told at a certain time.
type later struct {
	at  time.Time
	err error
}

func (r later) Wait() error {
	time.Sleep(time.Until(r.at))
	return r.err
}

// hungUp is the relay's end of the backend connection; it notes when the relay closes it.
type hungUp struct {
	*memoryConn
	simulation *simulation
}

func (c hungUp) Close() error {
	c.simulation.mu.Lock()
	defer c.simulation.mu.Unlock()
	c.simulation.goneAt = time.Now()
	return c.memoryConn.Close()
}

// segments cuts what is written into pieces.
type segments struct {
	net.Conn
	dice *rand.Rand
}

func (s segments) Write(p []byte) (int, error) { return inPieces(s.Conn, p, s.dice) }

// inPieces writes p in up to six pieces, now and then with a pause in between.
func inPieces(conn net.Conn, p []byte, dice *rand.Rand) (n int, err error) {
	p = bytes.Clone(p)
	for left := dice.IntN(6); err == nil && len(p[n:]) > 1 && left > 0; left-- {
		k, failed := conn.Write(p[n : n+1+dice.IntN(len(p[n:])-1)])
		n, err = n+k, failed
		pause(dice)
	}
	if err != nil {
		return n, err
	}
	k, err := conn.Write(p[n:])
	return n + k, err
}

// pause lets time pass: none, a moment, or more than the relay is quiet for.
func pause(dice *rand.Rand) {
	switch dice.IntN(12) {
	case 0:
		time.Sleep(time.Duration(dice.IntN(30)) * time.Millisecond)
	case 1:
		time.Sleep(time.Duration(dice.IntN(600)) * time.Millisecond)
	}
}
