package proxy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"time"

	"postern/proxy/pop3"
)

// finish settles what is open, records the end and closes both legs. The backend goes first, for the client
// may linger.
func (s *session) finish(err error) {
	e := endOf(err)
	if s.server.wasCut(err) {
		e = errShutdown.silent()
	}
	s.server.log.Debug("session ended", "session", s.id, "client", s.peer, "side", e.side, "reason", e.reason,
		"error", e.err)
	if s.backend != nil {
		s.server.removeOurs(s.backend.link)
		s.backend.close()
	}
	s.abandon()
	for _, ev := range s.maildrop.settleDeletes(DeleteRolledBack) {
		s.record(ev)
	}
	s.sayFarewell(e)
	s.recordEnd(e)
	s.client.close(s.client.err == nil)
}

// wasCut reports whether err is the server's own doing, which cut the connections or gave up dialling.
func (s *Server) wasCut(err error) bool {
	return s.cutting.Err() != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled))
}

func endOf(err error) *ending {
	var e *ending
	if errors.As(err, &e) {
		return e
	}
	return &ending{side: SideProxy, reason: "internal", err: err}
}

// sayFarewell sends what is queued and, when the client is owed a word, the last line. When the log is what
// failed, what was queued must not go; that one refusal goes without a record.
func (s *session) sayFarewell(e *ending) {
	c := s.client
	if e.farewell != "" && e.farewell != unrecorded && !c.inReply {
		c.queueLine([]byte(e.farewell))
	}
	if err := c.flush(); e.farewell == unrecorded || errors.Is(err, ErrNotRecorded) {
		c.drop()
		if !c.exposed {
			c.write([]byte(unrecorded + "\r\n"))
		}
	}
}

// recordEnd records the session's end, or counts it when it never said anything worth a session.
func (s *session) recordEnd(e *ending) {
	if !s.told && (e.side == SideClient || e == s.refusal || e.reason == errShutdown.reason) {
		s.countProbe(e)
		return
	}
	s.record(Event{
		Kind: KindEnd, Side: e.side, Detail: e.reason, Text: causeOf(e), Duration: time.Since(s.began),
		Received: s.client.received, Sent: s.client.sent,
	})
}

func (s *session) countProbe(e *ending) {
	reason := e.reason
	switch {
	case s.client.tls != nil && s.client.tls.ConnectionState().NegotiatedProtocol == acmeProtocol:
		return // a certificate authority at work
	case e == s.refusal:
		s.server.counts.refused.Add(1)
	case e.reason == errShutdown.reason:
		return
	case e.reason != "handshake_failed":
		reason = "silent"
	}
	s.server.probes.add(s.peer, s.listener, reason)
}

// acmeProtocol is negotiated by a certificate authority that validates a name (RFC 8737); tls has answered
// it when the handshake is done.
const acmeProtocol = "acme-tls/1"

// causeOf is the operator's part of an end: the error behind it, for ends that are nobody's wish.
func causeOf(e *ending) string {
	if e.err == nil || e.side == SideClient {
		return ""
	}
	return pop3.Text(bytes.TrimSpace([]byte(e.err.Error())))
}
