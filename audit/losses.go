package audit

import "postern/proxy"

// losses are events that could not be recorded.
type losses struct {
	count    int64
	reason   string // why the log was failing
	sessions map[proxy.SessionID]wound
}

// wound is what one session lost. Its end is kept in memory until it can be recorded: a session must
// not stand in the log as live for ever.
type wound struct {
	begin bool // it began while the log was failing: the log does not know it
	lost  bool // an event other than its end was lost
	end   *proxy.Event
}

// add takes in one event and reports whether it is lost.
func (l *losses) add(ev *proxy.Event) bool {
	w, known := l.sessions[ev.Session]
	if ev.Session == 0 || !known && len(l.sessions) >= maxWounds {
		l.count++
		return true
	}
	switch {
	case ev.Kind == proxy.KindEnd && w.begin:
		delete(l.sessions, ev.Session) // it came and went unseen
		l.count++
		return true
	case ev.Kind == proxy.KindEnd:
		end := *ev
		w.end = &end
	case ev.Kind == proxy.KindConnect:
		w.begin = true
	}
	lost := ev.Kind != proxy.KindEnd
	w.lost = w.lost || lost
	l.sessions[ev.Session] = w
	if lost {
		l.count++
	}
	return lost
}

// merge takes in losses that are older, and returns how many events are found to be lost only now.
func (l *losses) merge(old *losses) (lost int64) {
	if old == nil {
		return 0
	}
	l.count += old.count
	if l.reason == "" {
		l.reason = old.reason
	}
	for id, was := range old.sessions {
		is := l.sessions[id]
		is.begin, is.lost = is.begin || was.begin, is.lost || was.lost
		if is.end == nil {
			is.end = was.end
		}
		if is.begin && is.end != nil {
			delete(l.sessions, id)
			lost++ // the end, kept until now for nothing
			continue
		}
		l.sessions[id] = is
	}
	l.count += lost
	return lost
}

// takeEnded takes out the sessions that have ended, nil if there are none. What they and all others have lost
// stays counted here.
func (l *losses) takeEnded() *losses {
	if l == nil {
		return nil
	}
	ended := &losses{reason: l.reason, sessions: map[proxy.SessionID]wound{}}
	for id, w := range l.sessions {
		if w.end != nil {
			ended.sessions[id] = w
			delete(l.sessions, id)
		}
	}
	if len(ended.sessions) == 0 {
		return nil
	}
	return ended
}
