package proxy

import (
	"errors"
	"time"

	"postern/proxy/pop3"
)

// ask sends c to the backend, which may have it already, and returns the status line of its reply, which is good until
// the next read.
func (s *session) ask(c pop3.Command) ([]byte, error) {
	if s.ahead > 0 {
		s.ahead--
	} else if err := s.send(s.follow(c, c.AppendTo(s.scratch[:0]))); err != nil {
		return nil, err
	}
	return s.due(pop3.MaxStatus)
}

// askLine sends a whole line, built in the scratch buffer, and returns the status line that answers it, of at most limit
// octets.
func (s *session) askLine(line []byte, limit int) ([]byte, error) {
	if err := s.send(line, 0); err != nil {
		return nil, err
	}
	return s.due(limit)
}

// send gives the backend a line and ahead more behind it, all built in the scratch buffer.
func (s *session) send(lines []byte, ahead int) error {
	err := s.stale()
	if err == nil {
		s.ahead = ahead
		err = s.backend.send(lines)
	}
	clear(lines)
	s.scratch = lines[:0]
	if err != nil {
		return backendEnd(err)
	}
	return nil
}

// stale looks, before a command goes out, at what the backend may have sent since its last reply: it would be taken
// for the reply to this one.
func (s *session) stale() error {
	b := s.backend
	if b.look(); len(b.unread()) == 0 && !b.socket.waiting() {
		return nil
	}
	s.listenFor(time.Second)
	return s.unaskedBefore()
}

// unaskedBefore is unasked while a command of the client's waits for its answer.
func (s *session) unaskedBefore() error {
	err := s.unasked()
	if err != nil && endOf(err).reason == errFraming.reason {
		return errFraming
	}
	return err
}

// due reads the status line that answers what was sent: its time begins now.
func (s *session) due(limit int) ([]byte, error) {
	s.backend.replyBy = time.Time{}
	return s.status(limit)
}

// status reads a status line of at most limit octets.
func (s *session) status(limit int) ([]byte, error) {
	b := s.backend
	for {
		line, whole := b.next()
		if len(line) > limit || !whole && len(b.unread()) > limit {
			s.anomaly("status_too_long", SideBackend)
			return nil, errFraming
		}
		if whole {
			return line, nil
		}
		if err := s.awaitBackend(false); err != nil {
			return nil, err
		}
	}
}

// relay passes c to the backend and its reply to the client.
func (s *session) relay(c pop3.Command) error {
	ev := s.event(c)
	if err := s.identify(c, &ev); err != nil {
		return s.unanswered(ev, err)
	}
	early := c.Discloses() && s.loggedIn
	if early {
		s.willOpen(ev)
	}
	line, err := s.ask(c)
	if err != nil {
		s.attempt(c, &ev, false)
		return s.unanswered(ev, err)
	}
	reply := pop3.ParseReply(line)
	switch {
	case reply.Status != pop3.StatusOK && reply.Status != pop3.StatusErr:
		s.attempt(c, &ev, false)
		return s.unframed(ev)
	case reply.Status == pop3.StatusOK && (c.Multiline() || s.siteVerb(c)):
		if c.Discloses() && !early { // logged in by a verb that nobody knows
			s.willOpen(ev)
		}
		err = s.relayBody(c, ev, reply, line)
	default:
		err = s.relayStatus(c, ev, reply, line)
	}
	if err != nil {
		return err
	}
	if c.Verb == "" && !s.siteVerb(c) {
		s.listenFor(strayWait)
	}
	return s.replied()
}

// willOpen notes that mail is about to be disclosed. It is recorded when the first of it is about to go: with what becomes
// of it, in the same commit, if that is known by then.
func (s *session) willOpen(ev Event) {
	if s.opened == nil {
		s.opened = new(Event)
	}
	*s.opened = ev
	s.opened.Kind = KindOpened
	s.client.opening = s.opened
}

// relayStatus finishes a command whose reply is its status line.
func (s *session) relayStatus(c pop3.Command, ev Event, reply pop3.Reply, line []byte) error {
	ev.Duration = time.Since(ev.Time)
	note(&ev, reply, c.Secrets(s.loggedIn)...)
	more := s.learn(c, reply, &ev)
	line = s.spoken(&ev, reply, line)
	s.client.due = s.record(ev)
	for _, e := range more {
		s.client.due = s.record(e)
	}
	if err := s.admitted(); err != nil {
		return err
	}
	return s.say(line)
}

// say queues a reply's status line, whose record is due.
func (s *session) say(line []byte) error {
	if err := s.client.queueLine(line); err != nil {
		return clientEnd(err)
	}
	return nil
}

// relayBody finishes a command whose +OK has a body. The terminator goes only after the record.
func (s *session) relayBody(c pop3.Command, ev Event, reply pop3.Reply, line []byte) error {
	note(&ev, reply, c.Secrets(s.loggedIn)...)
	s.announced(&ev, reply)
	if err := s.say(line); err != nil {
		return s.partial(ev, pop3.Body{}, err)
	}
	s.client.inReply = true
	begin := s.client.queued()
	mail := s.reading(c)
	learn := s.learning(c, mail)
	body, err := s.body(func(p []byte) error {
		err := s.client.queue(p)
		if learn != nil {
			learn(p)
		}
		return err
	})
	ev.Mail = mail.told(err == nil)
	if err != nil {
		return s.cutShort(ev, body, begin, err)
	}
	return s.terminate(ev, body)
}

// terminate records a reply whose body is complete and queues the terminator behind the record.
func (s *session) terminate(ev Event, body pop3.Body) error {
	ev.Duration = time.Since(ev.Time)
	ev.Octets, ev.Lines = body.Octets, body.Lines
	s.client.due = s.record(ev)
	err := s.client.queueLine([]byte{'.'}) // what is in its way goes first, and is still a part
	s.client.inReply = false
	if err != nil {
		return clientEnd(err)
	}
	return nil
}

// body passes a body to sink, chunk by chunk, until its terminator.
func (s *session) body(sink func([]byte) error) (body pop3.Body, err error) {
	b := s.backend
	for {
		n, skip, done := body.Scan(b.unread())
		if n > 0 {
			if err := sink(b.unread()[:n]); err != nil {
				return body, clientEnd(err)
			}
		}
		b.r += n + skip
		if done {
			return body, nil
		}
		if err := s.awaitBackend(true); err != nil {
			return body, err
		}
	}
}

// cutShort is partial for a body that began behind octet begin of what was queued: not all of it may have gone.
func (s *session) cutShort(ev Event, body pop3.Body, begin int64, err error) error {
	body.Octets = min(body.Octets, max(0, s.client.reachable()-begin))
	return s.partial(ev, body, err)
}

// partial records a reply that was cut: what the client was sent of it is no whole reply.
func (s *session) partial(ev Event, body pop3.Body, err error) error {
	if endOf(err).side == SideBackend {
		s.anomaly("unterminated", SideBackend)
	}
	ev.Duration = time.Since(ev.Time)
	ev.Partial = true
	ev.Octets, ev.Lines = body.Octets, body.Lines
	s.record(ev)
	return err
}

// unanswered records a command that the backend did not answer, and answers it when there is a client to
// hear it.
func (s *session) unanswered(ev Event, err error) error {
	ev.Duration = time.Since(ev.Time)
	e := endOf(err)
	if e.farewell == "" || e.farewell == unrecorded || s.client.inReply {
		s.record(ev)
		return err
	}
	if refused := s.replyLocally(ev, e.farewell); refused != nil {
		return refused
	}
	return e.silent()
}

// silent is e when the client has already been told.
func (e *ending) silent() *ending {
	return &ending{side: e.side, reason: e.reason, err: e.err}
}

// unframed ends a session whose backend said what is no reply.
func (s *session) unframed(ev Event) error {
	s.anomaly("framing_uncertain", SideBackend)
	return s.unanswered(ev, errFraming)
}

// replied closes the exchange: nothing more may come from the backend unasked.
func (s *session) replied() error {
	s.backend.rest()
	if s.ahead > 0 {
		return nil // what has come answers the next command
	}
	return s.unasked()
}

// strayWait is how long a reply to an unknown verb may turn out to have more lines than one.
const strayWait = 50 * time.Millisecond

// listenFor waits a little for more from the backend.
func (s *session) listenFor(d time.Duration) {
	b := s.backend
	if len(b.unread()) > 0 {
		return
	}
	b.conn.SetReadDeadline(time.Now().Add(d))
	n, _ := b.conn.Read(b.room(false)) // an error comes again with the next read
	b.w += n
}

// unasked looks at what the backend sent without being asked. A -ERR is its good-bye (an autologout) and is
// passed on; with anything else the pairing of commands and replies is lost.
func (s *session) unasked() error {
	b := s.backend
	if len(b.unread()) == 0 {
		return nil
	}
	b.replyBy = time.Now().Add(time.Second)
	line, err := s.status(pop3.MaxStatus)
	var e *ending
	if errors.As(err, &e) && e.side != SideBackend {
		return err
	}
	reply := pop3.ParseReply(line)
	if err != nil || reply.Status != pop3.StatusErr {
		s.anomaly("framing_uncertain", SideBackend)
		return errFraming.silent()
	}
	ev := Event{Kind: KindAnomaly, Detail: "unsolicited_reply", Side: SideBackend}
	note(&ev, reply)
	if s.failed && ev.Text != "" {
		ev.Text = Redacted // it may quote what was tried before
	}
	if err := s.reply(ev, line); err != nil {
		return err
	}
	return errLogout
}
