package audit

import "postern/proxy"

// Aborted is the Detail of an end record that start-up wrote for a session which a crash left open.
const Aborted = "aborted"

// apply adds what r tells to the session. It reports whether a fact changed, one that is to be seen at
// once; running counts may wait. Rows are made from records by nothing else, at first and after a crash.
func (s *Session) apply(r *Record) (fact bool) {
	if s.Start.IsZero() {
		s.begin(r)
		fact = true
	}
	switch r.Kind {
	case proxy.KindTLS:
		s.TLS = r.TLS
		fact = true
	case proxy.KindCommand:
		fact = s.applyCommand(r) || fact
	case proxy.KindOpened:
		s.Opened++
	case proxy.KindDelete:
		s.applyDelete(r)
	case proxy.KindAnomaly:
		s.Anomalies++
		fact = true
	case proxy.KindGap:
		s.Partial = true
		fact = true
	case proxy.KindEnd:
		s.applyEnd(r)
		fact = true
	}
	return fact
}

// begin takes the facts of the first record. When that is no connect, the records before it were lost.
func (s *Session) begin(r *Record) {
	s.ID, s.Start, s.State = r.Session, r.Time, StateConnected
	s.Peer, s.Listener, s.Backend, s.TLS, s.BackendTLS = r.Peer, r.Listener, r.Backend, r.TLS, r.BackendTLS
	if r.Kind == proxy.KindConnect {
		s.Greeting = r.Text
		return
	}
	s.Partial = true
}

func (s *Session) applyCommand(r *Record) (fact bool) {
	s.Commands++
	s.Octets += r.Octets
	if r.Verb == "RETR" && r.Status == "+OK" && !r.Partial {
		s.Retrieved++
	}
	switch r.Login {
	case proxy.LoginOK:
		s.State = StateAuthorized
	case proxy.LoginFailed:
		s.LoginsFailed++
	default:
		return false
	}
	s.User, s.Mechanism, s.Login = r.User, r.Mechanism, r.Login
	return true
}

func (s *Session) applyDelete(r *Record) {
	switch r.Detail {
	case proxy.DeleteCommitted:
		s.Deleted++
	case proxy.DeleteRolledBack:
		s.RolledBack++
	case proxy.DeleteUnknown:
		s.Unknown++
	}
}

func (s *Session) applyEnd(r *Record) {
	s.State, s.End = StateEnded, r.Time
	s.EndSide, s.EndReason = r.Side, r.Detail
	s.Received, s.Sent = r.Received, r.Sent
	if r.Detail == Aborted {
		s.End = s.Start.Add(r.Duration) // the last that was seen of it, not when that was noticed
	}
}

// stamp writes on r whose session it is part of, so that a filter needs no second table.
func (s *Session) stamp(r *Record) {
	if r.User == "" && s.Login == proxy.LoginOK {
		r.User = s.User
	}
	if !r.Peer.IsValid() {
		r.Peer = s.Peer
	}
}

// deletion is one DELE that was answered +OK.
type deletion struct {
	message int64
	uid     string
	fate    string // "" while it is pending
}

// deletions follows the DELEs of one session, to tell in the end of which no delete record tells.
type deletions struct {
	open   []deletion
	intent bool
}

func (d *deletions) apply(r *Record) {
	switch {
	case r.Kind == proxy.KindDelete:
		d.told(r.Message)
	case r.Kind == proxy.KindIntent:
		d.intent = true
	case r.Kind != proxy.KindCommand || r.Local:
	case r.Verb == "DELE" && r.Status == "+OK":
		d.open = append(d.open, deletion{message: r.Message, uid: r.UID})
	case r.Verb == "RSET" && r.Status == "+OK":
		d.settle(proxy.DeleteRolledBack)
	case r.Verb == "QUIT" && r.Status == "+OK":
		d.settle(proxy.DeleteCommitted)
	case r.Verb == "QUIT" && r.Status != "":
		d.settle(proxy.DeleteRolledBack)
	}
}

// told removes the oldest open DELE of the message: its fate is on record.
func (d *deletions) told(message int64) {
	for i := range d.open {
		if d.open[i].message == message {
			d.open = append(d.open[:i], d.open[i+1:]...)
			return
		}
	}
}

func (d *deletions) settle(fate string) {
	for i := range d.open {
		if d.open[i].fate == "" {
			d.open[i].fate = fate
		}
	}
}

// rest returns the DELEs whose fate is not on record, with their fate as far as it can be known.
func (d *deletions) rest() []deletion {
	fate := proxy.DeleteRolledBack
	if d.intent {
		fate = proxy.DeleteUnknown
	}
	d.settle(fate)
	return d.open
}
