package proxy

import (
	"cmp"
	"time"

	"postern/proxy/pop3"
)

// The ledger of messages is kept in the records of RETR, TOP and DELE: which message it was, by its unique-id, how many
// octets the backend announced for it and, when a rule asks for it, what the message says of itself.

// identify adds to the record of a command that opens or deletes a message what its maildrop has told of it.
func (s *session) identify(c pop3.Command, ev *Event) error {
	if c.Verb == "UIDL" && c.Multiline() {
		s.maildrop.listed = true
	}
	if ev.Message == 0 || !opens(c) {
		return nil
	}
	if s.mayAsk() && ev.UID == "" {
		if err := s.askUIDs(); err != nil {
			return err
		}
		ev.UID = s.maildrop.uids.of(ev.Message)
	}
	ev.Announced = s.maildrop.sizes.of(ev.Message)
	return nil
}

// opens reports whether c opens or deletes a message.
func opens(c pop3.Command) bool { return c.Discloses() || c.Verb == "DELE" }

// mayAsk reports whether the proxy may yet ask for the unique-ids.
func (s *session) mayAsk() bool { return s.server.Rules.AskUIDs && !s.maildrop.listed }

// announced notes the size that the +OK of a RETR announces.
func (s *session) announced(ev *Event, reply pop3.Reply) {
	if ev.Verb == "RETR" && ev.Message > 0 {
		s.maildrop.sizes.set(ev.Message, reply.Announced())
		ev.Announced = cmp.Or(reply.Announced(), ev.Announced)
	}
}

// maxAsked bounds the listing that the proxy asks for, in octets: half a million unique-ids of the longest kind. The
// client, which does not see it, cannot give it up.
const maxAsked = 64 << 20

// askUIDs asks the backend for all unique-ids. It is done while a command of the client's waits, not yet forwarded:
// nothing else is in flight, clients that ask for themselves have done so, and those that open no message cause
// nothing. A backend without UIDL is not asked again.
func (s *session) askUIDs() error {
	s.maildrop.listed = true
	ev := Event{Kind: KindAsked, Time: time.Now(), Verb: "UIDL", Side: SideProxy, Detail: "unique_ids"}
	err := s.listUIDs(&ev)
	ev.Duration = time.Since(ev.Time)
	s.record(ev)
	if err != nil {
		return err
	}
	s.backend.rest()
	return s.unaskedBefore()
}

func (s *session) listUIDs(ev *Event) error {
	line, err := s.askLine(append(s.scratch[:0], "UIDL\r\n"...), pop3.MaxStatus)
	if err != nil {
		return err
	}
	reply := pop3.ParseReply(line)
	note(ev, reply)
	switch reply.Status {
	case pop3.StatusErr:
		return nil
	case pop3.StatusOK:
	default:
		s.anomaly("framing_uncertain", SideBackend)
		return errFraming
	}
	left := maxAsked
	body, err := s.body(func(p []byte) error {
		if left -= len(p); left < 0 {
			s.anomaly("list_too_long", SideBackend)
			return errFraming
		}
		s.maildrop.uids.feed(p)
		return nil
	})
	ev.Octets, ev.Lines, ev.Partial = body.Octets, body.Lines, err != nil
	return err
}

// learning returns what learns from the body of the reply to c, once the client has it; nil when nothing does.
func (s *session) learning(c pop3.Command, mail *mailReader) func(p []byte) {
	switch {
	case c.Verb == "UIDL":
		return s.maildrop.uids.feed
	case c.Verb == "LIST":
		return s.maildrop.sizes.feed
	case mail != nil:
		return mail.feed
	}
	return nil
}

// mailReader reads a message as it passes, as far as the rules ask for it.
type mailReader struct {
	header *pop3.Header // nil: not asked for
	digest *pop3.Digest // nil: not asked for
}

// reading returns the reader of what the reply to c discloses, nil when nobody asks for it.
func (s *session) reading(c pop3.Command) *mailReader {
	header := s.server.Rules.MailHeaders && (c.Verb == "RETR" || c.Verb == "TOP")
	digest := s.server.Rules.MailDigest && c.Verb == "RETR"
	if !header && !digest {
		return nil
	}
	m := new(mailReader)
	if header {
		m.header = new(pop3.Header)
	}
	if digest {
		m.digest = pop3.NewDigest()
	}
	return m
}

func (m *mailReader) feed(p []byte) {
	if m.header != nil {
		m.header.Feed(p)
	}
	if m.digest != nil {
		m.digest.Feed(p)
	}
}

// told returns what was read, nil when that is nothing. A message of which a part is missing has no digest.
func (m *mailReader) told(whole bool) *Mail {
	if m == nil {
		return nil
	}
	mail := new(Mail)
	if m.header != nil {
		h := m.header.Mail()
		*mail = Mail{MessageID: h.MessageID, From: h.From, Date: h.Date, Subject: h.Subject}
	}
	if m.digest != nil && whole {
		mail.SHA256 = m.digest.Sum()
	}
	if *mail == (Mail{}) {
		return nil
	}
	return mail
}
