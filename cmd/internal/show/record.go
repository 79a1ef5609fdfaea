package show

import (
	"cmp"
	"fmt"
	"strings"

	"postern/audit"
	"postern/proxy"
)

// Widths of the live view's columns.
const (
	userWidth = 16
	whatWidth = 34
)

// Record prints one record as a line of the live view, and the date above the first line of each day.
func (p *Printer) Record(r audit.Record) error {
	if day := date(r.Time); day != p.day {
		p.day = day
		if err := p.write(p.paint(faint, "── "+day+" (UTC) ──")); err != nil {
			return err
		}
	}
	what, outcome, color := words(r)
	return p.write(p.paint(faint, clock(r.Time)) + "  " + p.paint(faint, fit(r.Session.String(), 13)) + "  " +
		p.paint(bold, fit(r.User, userWidth)) + "  " + fit(what, whatWidth) + "  " + p.paint(color, Escape(outcome)))
}

// words tells a record: what happened, what came of it, and in which colour to say so. They are raw:
// the caller escapes them.
func words(r audit.Record) (what, outcome, color string) {
	switch r.Kind {
	case proxy.KindConnect:
		return "connect", join(", ", "from "+r.Peer.String(), r.Listener, tlsWords(r.TLS), behindWords(r.BackendTLS)), legColor(r.TLS)
	case proxy.KindTLS:
		return "TLS is up", tlsWords(r.TLS), legColor(r.TLS)
	case proxy.KindCommand:
		return commandWords(r), outcomeWords(r), statusColor(r)
	case proxy.KindOpened:
		return fmt.Sprintf("open message %d", r.Message), uidWords(r.UID), faint
	case proxy.KindAsked:
		return "postern asks " + r.Verb, outcomeWords(r), faint
	case proxy.KindIntent:
		return fmt.Sprintf("about to delete %s", plural(r.Count, "message")), "QUIT goes to the backend", faint
	case proxy.KindDelete:
		return fmt.Sprintf("delete message %d", r.Message), join(", ", deleteWords(r.Detail), uidWords(r.UID)), deleteColor(r)
	case proxy.KindAnomaly:
		return "anomaly by " + r.Side, join(": ", spaced(r.Detail), r.Text), yellow
	case proxy.KindEnd:
		return "end by " + r.Side, join(", ", endWords(r.Detail, r.Text), Span(r.Duration), trafficWords(r.Received, r.Sent)), cyan
	case proxy.KindRefused:
		return "refused " + plural(r.Count, "connection"), join(", ", spaced(r.Detail), fromWords(r), r.Listener), yellow
	case proxy.KindCertificate:
		return "certificate " + spaced(r.Detail), join(": ", r.Arg, r.Text), certificateColor(r.Detail)
	case proxy.KindBackend:
		return "backend " + spaced(r.Detail), join(": ", r.Backend, r.Text), backendColor(r.Detail)
	}
	return ofLog(r)
}

// ofLog tells a record of the log's own life.
func ofLog(r audit.Record) (what, outcome, color string) {
	switch r.Kind {
	case proxy.KindStart:
		return "log opened", spaced(r.Detail), faint
	case proxy.KindStop:
		return "log closed", spaced(r.Detail), faint
	case proxy.KindConfig:
		return "setting " + r.Arg, cmp.Or(r.Text, "none"), faint
	case proxy.KindAccess:
		return "access by " + r.Verb, join(", ", r.Arg, givenWords(r.Count), fromWords(r), r.Text), cyan
	case proxy.KindGap:
		return "GAP", gapWords(r), red
	case proxy.KindState:
		return "log: " + spaced(r.Detail), stateOfLog(r), logColor(r.Detail)
	case proxy.KindRetention:
		return fmt.Sprintf("retention %s %s", spaced(r.Detail), plural(r.Count, "record")), join(", ", r.Arg, numbersWords(r.Text)), yellow
	case proxy.KindHold:
		return "hold " + holdWords(r.Verb), join(", ", r.Arg, r.Text), yellow
	case proxy.KindKey:
		if r.Detail == "lost" {
			return "new key, none vouches for it", r.Arg, red
		}
		return "new key for checkpoints", r.Arg, yellow
	}
	return string(r.Kind), join(", ", spaced(r.Detail), r.Arg, r.Text), plain
}

func commandWords(r audit.Record) string { return join(" ", r.Verb, r.Arg) }

// outcomeWords is the reply and what it carried.
func outcomeWords(r audit.Record) string {
	reply := replyWords(r)
	if r.Octets > 0 && r.Status == "+OK" {
		reply = r.Status // the text only repeats the size
	}
	return join("  ", reply, detailWords(r))
}

// replyWords is the status line.
func replyWords(r audit.Record) string {
	if r.Status == "" {
		return "no reply"
	}
	code := r.Code
	if code != "" {
		code = "[" + code + "]"
	}
	return join(" ", r.Status, code, r.Text)
}

// detailWords is what the status line does not say.
func detailWords(r audit.Record) string {
	var size, cut, local string
	if r.Octets > 0 || r.Lines > 0 {
		size = Octets(r.Octets)
	}
	if r.Partial {
		cut = "CUT SHORT"
	}
	if r.Partial && r.Verb == "RETR" && r.Announced > 0 { // TOP asks for a part
		cut += " of " + Octets(r.Announced)
	}
	if r.Local {
		local = "by postern"
	}
	return join("  ", size, cut, local, Span(r.Duration))
}

func statusColor(r audit.Record) string {
	switch {
	case r.Partial || r.Status == "":
		return yellow
	case r.Status == "-ERR":
		return red
	}
	return green
}

func deleteWords(fate string) string {
	switch fate {
	case proxy.DeleteCommitted:
		return "committed"
	case proxy.DeleteRolledBack:
		return "rolled back"
	case proxy.DeleteUnknown:
		return "fate unknown"
	}
	return fate
}

func deleteColor(r audit.Record) string {
	if r.Detail == proxy.DeleteUnknown {
		return yellow
	}
	return plain
}

func uidWords(uid string) string {
	if uid == "" {
		return ""
	}
	return "uid " + uid
}

// gapWords tells a loss, of which inside a session there is no count.
func gapWords(r audit.Record) string {
	lost := "some of this session"
	if r.Session == 0 {
		lost = plural(r.Count, "event")
	}
	return lost + " could not be recorded"
}

func stateOfLog(r audit.Record) string {
	if r.Duration > 0 {
		return "after " + Span(r.Duration) + ": " + r.Text
	}
	return join(": ", r.Arg, r.Text)
}

func logColor(state string) string {
	switch state {
	case audit.LogFailing, audit.SpaceCritical, "witness_refused":
		return red
	case audit.LogSlow, audit.SpaceLow:
		return yellow
	}
	return green
}

func holdWords(verb string) string {
	if verb == "release" {
		return "released"
	}
	return "begun"
}

// numbersWords names the span of records that a retention run walked.
func numbersWords(span string) string {
	if span == "" {
		return ""
	}
	return "in records " + span
}

// givenWords is how much of the log somebody was given.
func givenWords(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d given out", n)
}

func fromWords(r audit.Record) string {
	if !r.Peer.IsValid() {
		return ""
	}
	return "from " + r.Peer.Addr().String()
}

func endWords(reason, cause string) string { return join(": ", spaced(reason), cause) }

func trafficWords(received, sent int64) string {
	return fmt.Sprintf("%s in, %s out", Octets(received), Octets(sent))
}

// spaced turns a stable name such as timeout_idle into words.
func spaced(name string) string { return strings.ReplaceAll(name, "_", " ") }
