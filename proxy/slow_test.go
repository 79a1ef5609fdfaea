package proxy

import (
	"bytes"
	"math/rand/v2"
	"net"
	"time"
)

// slowLog keeps each record a while after it was given.
type slowLog struct {
	memoryLog
	dice *rand.Rand
	due  []time.Time
}

func (l *slowLog) Record(ev Event) Receipt {
	l.memoryLog.Record(ev)
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Now().Add(time.Duration(l.dice.IntN(40)) * time.Millisecond)
	if n := len(l.due); n > 0 && at.Before(l.due[n-1]) {
		at = l.due[n-1]
	}
	l.due = append(l.due, at)
	return later(at)
}

// kept returns how many records are safe by now.
func (l *slowLog) kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.due) && !time.Now().Before(l.due[n]) {
		n++
	}
	return n
}

type later time.Time

func (r later) Wait() error {
	time.Sleep(time.Until(time.Time(r)))
	return nil
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
