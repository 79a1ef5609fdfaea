package proxy

import (
	"bytes"
	"time"

	"postern/proxy/pop3"
)

// maxTurns bounds the challenges of one AUTH; the longest mechanisms take four.
const maxTurns = 32

// authDialogue is one AUTH with a mechanism, on its way.
type authDialogue struct {
	ev      Event
	sasl    pop3.SASL
	secrets [][]byte // what a status line must not quote; kept for as long as the dialogue
}

// auth relays AUTH with a mechanism (RFC 5034 section 4): challenges and responses line by line, until the
// final status. No line of it is ever recorded, only the mechanism, the name and the outcome.
func (s *session) auth(c pop3.Command) error {
	if why := s.refusesAUTH(c); why != "" {
		return s.refuse(c, why)
	}
	mechanism, _ := c.Mechanism()
	d := s.newAuthDialogue(c)
	line, err := s.ask(c)
	for turn := 0; err == nil; turn++ {
		if pop3.ParseReply(line).Status != pop3.StatusContinue {
			return s.authDone(d, line)
		}
		if turn == maxTurns {
			err = errTurns
			break
		}
		line, err = s.turn(d, line)
	}
	s.login(&d.ev, d.sasl.User, mechanism, false)
	return s.unanswered(d.ev, err)
}

// newAuthDialogue begins the record of an AUTH and takes its initial response.
func (s *session) newAuthDialogue(c pop3.Command) *authDialogue {
	mechanism, initial := c.Mechanism()
	d := &authDialogue{ev: s.event(c), sasl: pop3.SASL{Mechanism: mechanism}}
	if initial != nil {
		d.take(initial)
	}
	return d
}

func (d *authDialogue) take(line []byte) {
	d.sasl.Client(line)
	d.secrets = append(d.secrets, d.sasl.Secrets(bytes.Clone(line))...)
}

// turn passes a challenge to the client and its response to the backend, and returns what that says to it.
func (s *session) turn(d *authDialogue, challenge []byte) ([]byte, error) {
	if err := s.say(challenge); err != nil {
		return nil, err
	}
	response, err := s.response()
	if err != nil {
		return nil, err
	}
	switch {
	case d.sasl.Mechanism == "DIGEST-MD5" && pop3.SecurityLayer(response):
		s.anomaly("security_layer", SideClient)
		response = []byte{'*'}
	case d.sasl.Mechanism == "EXTERNAL" && string(response) != "*" && !s.mayClaim(response):
		s.anomaly("external_mismatch", SideClient)
		response = []byte{'*'}
	}
	if string(response) == "*" {
		d.ev.Detail = "cancelled"
	} else {
		d.take(response)
	}
	return s.askLine(append(append(s.scratch[:0], response...), '\r', '\n'), pop3.MaxSASL)
}

// response reads the client's next SASL line. One that is over its bound, or holds what base64 never does, is
// replaced by "*", which cancels (RFC 5034 section 4): the backend must not see it.
func (s *session) response() ([]byte, error) {
	s.awaiting()
	for long := false; ; {
		line, whole := s.client.next()
		switch {
		case whole && (long || len(line) > pop3.MaxSASL):
			s.anomaly("line_too_long", SideClient)
			return []byte{'*'}, nil
		case whole && !plainLine(line):
			s.anomaly("control_octet", SideClient)
			return []byte{'*'}, nil
		case whole:
			return line, nil
		case len(s.client.pending()) > pop3.MaxSASL+1:
			if long {
				return nil, errLineLong
			}
			long = true
			s.client.r = s.client.w
		}
		if err := s.awaitClient(pop3.MaxSASL + 2); err != nil {
			return nil, answered(err)
		}
	}
}

// answered gives the end of a backend that went away inside AUTH the words that answer the command.
func answered(err error) error {
	e := endOf(err)
	if e.side != SideBackend || e.farewell != "" || e == errLogout {
		return err
	}
	return &ending{side: e.side, reason: e.reason, farewell: gone, err: e.err}
}

func plainLine(line []byte) bool {
	for _, c := range line {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// authDone records the outcome and passes it on.
func (s *session) authDone(d *authDialogue, line []byte) error {
	reply := pop3.ParseReply(line)
	if reply.Status != pop3.StatusOK && reply.Status != pop3.StatusErr {
		s.login(&d.ev, d.sasl.User, d.sasl.Mechanism, false)
		return s.unframed(d.ev)
	}
	d.ev.Duration = time.Since(d.ev.Time)
	note(&d.ev, reply, d.secrets...)
	s.login(&d.ev, d.sasl.User, d.sasl.Mechanism, reply.Status == pop3.StatusOK)
	line = s.spoken(&d.ev, reply, line)
	s.client.due = s.record(d.ev)
	if err := s.admitted(); err != nil {
		return err
	}
	if err := s.say(line); err != nil {
		return err
	}
	return s.replied()
}
