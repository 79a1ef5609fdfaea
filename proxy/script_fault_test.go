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
	s.brokenIn = len(s.exchanges)
	s.lastCommand()
	x := s.last()
	if s.dice.IntN(3) == 0 {
		s.garble(x)
	} else {
		s.cut(x)
	}
	x.send += strings.Repeat("NOOP\r\n", s.dice.IntN(4))
}

func (s *script) lastCommand() {
	switch kind := s.dice.IntN(5); {
	case kind == 0:
		s.quit(true)
	case kind == 1:
		s.body("LIST", "command LIST", "", "", s.lines())
	case kind == 2:
		s.capa()
	case s.in:
		s.body("RETR 1", `command RETR "1"`, s.number(1), "opened", s.lines())
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
	s.end = "end by=backend closed"
	if s.byReset = s.dice.IntN(2) == 0; s.byReset {
		s.end = `end text="connection reset by peer" by=backend reset`
	}
	at := s.dice.IntN(len(x.reply))
	if s.dice.IntN(3) == 0 {
		at = max(len(x.reply)-1-s.dice.IntN(4), 0) // within the terminator
	}
	x.reply = x.reply[:at]
	status, body, begun := strings.Cut(x.reply, "\n")
	if !begun || strings.HasPrefix(x.send, "CAPA") { // CAPA is passed on whole or not at all
		x.receive = gone + "\r\n"
		s.unanswered(x)
		return
	}
	body = withoutHalfEnd(body)
	x.cut, x.receive, x.row.size = true, status+"\n"+body, size(body)
	x.row.front, x.row.outcome = []string{"anomaly by=backend unterminated"}, " +OK partial"
}

// unanswered says on record that x got no reply but the proxy's: nobody knows what became of a QUIT's deletes.
func (s *script) unanswered(x *exchange) {
	x.row.outcome, x.row.size, x.behind = " -ERR [SYS/TEMP] local", "", nil
	if strings.HasPrefix(x.send, "QUIT") {
		x.behind = s.fates(DeleteUnknown)
	}
}

// resets makes the client reset within or behind one of its lines, whatever of the others is still in flight.
func (s *script) resets() {
	s.resetBehind = s.dice.IntN(len(s.exchanges))
	x := &s.exchanges[s.resetBehind]
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
