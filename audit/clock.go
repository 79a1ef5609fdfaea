package audit

import (
	"time"

	"postern/proxy"
)

// clockSlack is how far records may be out of the order of the clock although nobody has set it: those of sessions that
// waited for the disk together come in any order.
const clockSlack = 2 * stallLimit

// clock follows what the records tell of the system's clock, to find where it was set back.
type clock struct {
	last     time.Time
	back     int64         // how often it was
	furthest time.Duration // by how much at most
	at       int64         // the record at which that was
}

// read takes in the moment at which r was made, if it tells one: a connection is recorded when it says something, and a
// state when the log can be written again.
func (c *clock) read(r *Record) {
	made := r.Time
	switch r.Kind {
	case proxy.KindCommand, proxy.KindAsked:
		made = made.Add(r.Duration) // they are recorded when they are over
	case proxy.KindTLS, proxy.KindIntent, proxy.KindDelete, proxy.KindEnd, proxy.KindAccess, proxy.KindStart, proxy.KindStop:
	default:
		return
	}
	if step := c.last.Sub(made); step > clockSlack && !c.last.IsZero() {
		if c.back++; step > c.furthest {
			c.furthest, c.at = step, r.Seq
		}
	}
	c.last = made
}
