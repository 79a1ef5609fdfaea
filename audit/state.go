package audit

import (
	"time"

	"postern/proxy"
)

// The states of the log, in Detail of a KindState. Each is recorded when it begins; a log that is failing says so
// afterwards.
const (
	LogFailing    = "failing"   // it cannot be written: Text is the cause and the remedy
	LogRecovered  = "recovered" // it is written again: Duration tells for how long it was not
	LogSlow       = "slow"      // commits take long
	LogSpeedOK    = "speed_ok"
	SpaceLow      = "space_low"      // 75 % of the space is used
	SpaceCritical = "space_critical" // 90 %
	SpaceOK       = "space_ok"
)

// maxStates bounds the changes of state that wait to be recorded: a log that is failing for long may see the space
// come and go many times.
const maxStates = 64

// stateAt makes the record of a change of state.
func stateAt(at time.Time, name, text string) proxy.Event {
	return proxy.Event{Time: at, Kind: proxy.KindState, Detail: name, Text: text}
}

// note has a change of state recorded by the next commit.
func (w *writer) note(ev proxy.Event) {
	if len(w.states) < maxStates {
		w.states = append(w.states, ev)
	}
}

// isFailing tells whether the log is in an outage, as far as the writer knows: it hears of a commit that took too long
// only when that is over.
func (w *writer) isFailing() bool { return w.outage.reason != "" }

// failed notes that a commit, or the opening before it, has failed.
func (w *writer) failed(err error, b *batch, lost *losses) {
	since, reason := w.log.failed(err, b, lost)
	if !w.isFailing() {
		w.outage = outage{since: since, reason: reason}
		w.note(stateAt(since, LogFailing, reason))
	}
	if w.watch.broke(err) {
		w.backoff = firstBackoff // there is room now for what has to be said
	}
}

// told follows a commit, with which perhaps an outage is over.
func (w *writer) told(o outage, healed bool) {
	switch {
	case healed && !w.isFailing(): // it took too long and went well: only now it is known to have been an outage
		w.note(stateAt(o.since, LogFailing, o.reason))
		w.note(recoveredAt(o.until, o))
		w.log.nudge()
	case healed:
		w.outage = outage{}
	}
}

func recoveredAt(at time.Time, o outage) proxy.Event {
	ev := stateAt(at, LogRecovered, o.reason)
	ev.Duration = at.Sub(o.since)
	return ev
}

// writeStates writes what changed in the log's state, with what was lost in between. If the log was failing it is
// well with this commit, unless the disk is still full.
func (w *writer) writeStates(lost *losses) error {
	for i := range w.states {
		if err := w.append(&w.states[i]); err != nil {
			return err
		}
	}
	if lost != nil {
		if err := w.writeLosses(lost); err != nil {
			return err
		}
	}
	if !w.isFailing() || w.watch.full {
		return nil
	}
	recovered := recoveredAt(w.began, w.outage)
	return w.append(&recovered)
}
