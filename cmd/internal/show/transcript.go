package show

import (
	"fmt"
	"time"

	"postern/audit"
	"postern/proxy"
)

// Begin prints a transcript's head: the facts of the session.
func (p *Printer) Begin(s audit.Session, now time.Time) error {
	facts := [][2]string{
		{"user", userFact(s)},
		{"client", s.Peer.String() + " on " + s.Listener},
		{"tls", tlsFact(s.TLS)},
		{"handshake", handshakeFact(s.TLS)},
		{"client cert", shownFact(s.TLS)},
		{"backend", s.Backend},
		{"backend tls", behindFact(s)},
		{"began", s.Start.UTC().Format("2006-01-02 15:04:05.000 UTC")},
		{"ended", endFact(s, now)},
		{"passed", join(", ", plural(s.Commands, "command"), Octets(s.Octets)+" of mail", trafficFact(s))},
		{"messages", messageFact(s)},
	}
	if s.Partial {
		facts = append(facts, [2]string{"warning", "some records of this session were lost while the log could not be written"})
	}
	if err := p.write(p.paint(bold, "Session "+s.ID.String())); err != nil {
		return err
	}
	for _, fact := range facts {
		if fact[1] == "" {
			continue
		}
		if err := p.write("  " + p.paint(faint, fit(fact[0], 12)) + Escape(fact[1])); err != nil {
			return err
		}
	}
	return p.write("")
}

// Entry prints one record of a transcript, as a terminal would have shown the dialogue: what the client
// said after ">", what it was answered after "<", and what the record adds in between.
func (p *Printer) Entry(r audit.Record) error {
	if r.Kind == proxy.KindCommand {
		return p.exchange(r)
	}
	what, outcome, color := words(r)
	if color == plain {
		color = faint
	}
	if r.Kind == proxy.KindConnect && r.Text != "" {
		outcome = join(", ", outcome, "greeted by the backend:")
	}
	if err := p.entryLine(clock(r.Time), " ", color, "· "+join(": ", what, outcome), ""); err != nil {
		return err
	}
	if r.Kind == proxy.KindConnect && r.Text != "" {
		return p.entryLine("", "<", plain, r.Text, "")
	}
	return nil
}

func (p *Printer) exchange(r audit.Record) error {
	if err := p.entryLine(clock(r.Time), ">", bold, commandWords(r), ""); err != nil {
		return err
	}
	reply, mark := replyWords(r), "<"
	if r.Status == "" {
		mark = " "
	}
	details := detailWords(r)
	if r.Login != "" {
		details = join("  ", "login "+r.Login, join(" by ", r.User, r.Mechanism), details)
	}
	if r.Lines > 0 {
		details = join("  ", plural(r.Lines, "line"), details)
	}
	if err := p.entryLine("", mark, statusColor(r), reply, details); err != nil {
		return err
	}
	return p.mail(r.Mail)
}

// mail prints what is kept of what a message says of itself, a line a field: it is the sender's text and could else pass
// for another field.
func (p *Printer) mail(m *audit.Mail) error {
	if m == nil {
		return nil
	}
	for _, field := range [][2]string{
		{"Message-ID", m.MessageID}, {"From", m.From}, {"Date", m.Date}, {"Subject", m.Subject}, {"SHA-256", m.SHA256},
	} {
		if field[1] == "" {
			continue
		}
		if err := p.entryLine("", " ", faint, "· "+field[0]+": "+field[1], ""); err != nil {
			return err
		}
	}
	return nil
}

// entryLine prints raw text after its time and mark, with faint details behind it.
func (p *Printer) entryLine(at, mark, color, text, details string) error {
	const textWidth = 40
	text = Escape(text)
	if details != "" {
		text = p.paint(color, fitEscaped(text, textWidth)) + "  " + p.paint(faint, Escape(details))
	} else {
		text = p.paint(color, text)
	}
	return p.write(p.paint(faint, fit(at, 12)) + "  " + p.paint(faint, mark) + " " + text)
}

// fitEscaped pads text to width and never cuts it: a transcript is complete.
func fitEscaped(text string, width int) string { return fmt.Sprintf("%-*s", width, text) }

func userFact(s audit.Session) string {
	if s.User == "" {
		return "none, nobody tried to log in"
	}
	failed := ""
	if s.LoginsFailed > 0 {
		failed = plural(s.LoginsFailed, "failed login")
	}
	if s.Login != proxy.LoginOK {
		return join(", ", s.User+" (claimed)", failed)
	}
	return join(", ", join(" by ", s.User, s.Mechanism), failed)
}

func endFact(s audit.Session, now time.Time) string {
	if s.End.IsZero() {
		return "not yet, it has lasted " + Span(lasted(s, now))
	}
	return fmt.Sprintf("%s UTC after %s, %s", s.End.UTC().Format("2006-01-02 15:04:05.000"), Span(lasted(s, now)), endCell(s))
}

func trafficFact(s audit.Session) string {
	if s.End.IsZero() {
		return ""
	}
	return trafficWords(s.Received, s.Sent)
}

func messageFact(s audit.Session) string {
	count := func(what string, n int64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%s %d", what, n)
	}
	facts := join(", ", count("opened", s.Opened), count("retrieved whole", s.Retrieved), count("deleted", s.Deleted),
		count("rolled back", s.RolledBack), count("fate unknown", s.Unknown), count("anomalies", s.Anomalies))
	if facts == "" {
		return "none touched"
	}
	return facts
}
