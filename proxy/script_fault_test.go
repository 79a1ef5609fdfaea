package proxy

import (
	"fmt"
	"strings"

	"postern/proxy/pop3"
)

// finish ends the session: the client leaves with or without QUIT or resets, or the backend breaks off.
func (s *script) finish() {
	s.end = "end by=client eof"
	switch s.dice.IntN(7) {
	case 0, 1:
		s.breaksOff()
	case 2:
		s.resets()
	case 3:
		s.logsOut()
	case 4, 5:
		ok := s.ok()
		s.quit(ok)
		if ok {
			s.end, s.last().behind = "end by=client quit", s.fates(DeleteCommitted)
		}
	}
	s.settled = s.fates(DeleteRolledBack)
}

func (s *script) quit(ok bool) {
	intent := s.pending()
	s.one("QUIT", "command QUIT", "", "", ok, s.text())
	s.last().before = intent
}

// breaksOff adds a command whose reply is cut or garbage. Nobody answers what comes behind it.
func (s *script) breaksOff() {
	s.lastCommand()
	s.brokenIn = len(s.exchanges) - 1
	x := s.last()
	if s.asked() && s.dice.IntN(2) == 0 {
		s.brokenIn--
		s.breaksListing(&s.exchanges[s.brokenIn], x)
	} else if s.dice.IntN(3) == 0 {
		s.garble(x)
	} else {
		s.cut(x)
	}
	s.some(4, s.leavesUnheard)
	for _, y := range s.unheard {
		x.send += y.send
	}
}

// leavesUnheard adds a command behind the one that is not answered. The backend may have it all the same, and then it is on
// record, with what was known before.
func (s *script) leavesUnheard() {
	n := 1 + s.dice.IntN(5)
	all := []exchange{
		{forward: "NOOP\r\n", row: row{head: "command NOOP"}},
		{forward: fmt.Sprintf("DELE %d\r\n", n), row: row{head: fmt.Sprintf(`command DELE "%d"`, n), number: s.number(n)}},
		{forward: fmt.Sprintf("RETR %d\r\n", n), row: row{head: fmt.Sprintf(`command RETR "%d"`, n), number: s.number(n)}},
		{forward: "RSET\r\n", row: row{head: "command RSET"}},
		{forward: "QUIT\r\n"},
	}
	x := all[s.dice.IntN(len(all))]
	x.send, x.joins = x.forward, s.joins(x.forward)
	s.unheard = append(s.unheard, x)
}

func (s *script) lastCommand() {
	switch kind := s.dice.IntN(5); {
	case kind == 0:
		s.quit(true)
	case kind == 1:
		s.list()
	case kind == 2:
		s.capa()
	case s.in:
		s.opens("RETR", 1)
	default:
		s.one("AUTH plain "+passwordIn64, `command AUTH "PLAIN `+Redacted+`"`, "", ` user="alice" mech=PLAIN login=failed`, true, "")
	}
}

// garble makes the reply to x what is no reply.
func (s *script) garble(x *exchange) {
	all := []struct{ reply, anomaly string }{
		{"\r\n", "framing_uncertain"},
		{"* BYE\r\n", "framing_uncertain"},
		{"+OKAY\r\n", "framing_uncertain"},
		{"-ER\x00\r\n", "framing_uncertain"},
		{"+OK " + strings.Repeat("x", pop3.MaxStatus), "status_too_long"},
	}
	garbage := all[s.dice.IntN(len(all))]
	x.reply, x.receive = garbage.reply, errFraming.farewell+"\r\n"
	x.row.front, s.end = []string{"anomaly by=backend " + garbage.anomaly}, "end by=backend framing_uncertain"
	s.unanswered(x)
}

// cut takes the end off the reply to x.
func (s *script) cut(x *exchange) {
	status, body, begun := s.cutReply(x)
	if !begun || strings.HasPrefix(x.send, "CAPA") { // CAPA is passed on whole or not at all
		x.receive = gone + "\r\n"
		s.unanswered(x)
		return
	}
	x.cut, x.receive, x.row.size = true, status+"\n"+body, size(body)
	x.row.front = []string{"anomaly by=backend unterminated"}
	x.row.outcome += " partial"
	s.tellsOfMail(x, false)
}

// cutReply takes the end off the reply to x and returns its status line, if that is whole, and as much of its body as
// can be passed on.
func (s *script) cutReply(x *exchange) (status, body string, begun bool) {
	s.end = "end by=backend closed"
	if s.byReset = s.dice.IntN(2) == 0; s.byReset {
		s.end = `end text="connection reset by peer" by=backend reset`
	}
	at := s.dice.IntN(len(x.reply))
	if s.dice.IntN(3) == 0 {
		at = max(len(x.reply)-1-s.dice.IntN(4), 0) // within the terminator
	}
	x.reply = x.reply[:at]
	status, body, begun = strings.Cut(x.reply, "\n")
	return status, withoutHalfEnd(body), begun
}

// asked reports whether the proxy asks for the unique-ids just before the last command.
func (s *script) asked() bool {
	n := len(s.exchanges)
	return n > 1 && s.exchanges[n-2].send == ""
}

// breaksListing makes the listing that the proxy asks for cut or garbage. It is x, the command that waits for it, that
// is refused.
func (s *script) breaksListing(listing, x *exchange) {
	s.uids = s.unlisted
	if s.dice.IntN(3) == 0 {
		s.garble(listing)
		listing.row.outcome, x.receive, listing.receive = "", listing.receive, ""
	} else if _, body, begun := s.cutReply(listing); begun {
		s.learnUIDs(body)
		listing.row.outcome, listing.row.size, x.receive = " +OK partial", size(body), gone+"\r\n"
	} else {
		listing.row.outcome, listing.row.size, x.receive = "", "", gone+"\r\n"
	}
	x.forward, x.before, x.row.unanswered = "", "", " msg=1"
	s.unanswered(x)
}

// unanswered says on record that x got no reply but the proxy's: nobody knows what became of a QUIT's deletes.
func (s *script) unanswered(x *exchange) {
	x.row.outcome, x.row.size, x.row.mail, x.behind = " -ERR [SYS/TEMP] local", "", "", nil
	if x.row.unanswered != "" {
		x.row.number = x.row.unanswered
	}
	if strings.HasPrefix(x.send, "QUIT") {
		x.behind = s.fates(DeleteUnknown)
	}
}

// resets makes the client reset within or behind one of its lines, whatever of the others is still in flight.
func (s *script) resets() {
	s.resetBehind = s.dice.IntN(len(s.exchanges))
	x := &s.exchanges[s.resetBehind]
	if x.send == "" { // the proxy asks: the command it asks for is behind
		s.resetBehind++
		x = &s.exchanges[s.resetBehind]
	}
	if s.dice.IntN(2) == 0 {
		x.send = x.send[:1+s.dice.IntN(len(x.send))]
	}
}

// logsOut makes the backend say good-bye to a client that is silent.
func (s *script) logsOut() {
	s.end = "end by=backend autologout"
	reply, text := "-ERR", ""
	if s.dice.IntN(2) == 0 {
		reply, text = "-ERR idle for too long", ` text="idle for too long"`
		if s.failed { // it might quote what was tried
			text = fmt.Sprintf(" text=%q", Redacted)
		}
	}
	s.add(exchange{unasked: true, reply: reply + s.lineEnd(), receive: reply + "\r\n",
		row: row{head: "anomaly", outcome: " -ERR" + text + " by=backend unsolicited_reply"}})
}

// logFails makes the log fail anywhere, now and then, but not before STLS is answered.
func (s *script) logFails() {
	if s.resetBehind >= 0 || s.dice.IntN(4) > 0 {
		return
	}
	least := len(s.opening()) - 1
	s.keeps = least + s.dice.IntN(len(s.rows())-least)
}
