package show

import (
	"fmt"
	"strings"
	"time"

	"postern/audit"
	"postern/proxy"
)

// sessionHeads are the columns of the table.
var sessionHeads = []string{"SESSION", "STARTED (UTC)", ">LASTED", "USER", "CLIENT", "TLS",
	">CMDS", ">READ", ">DELETED", ">OUT", "END"}

// Sessions prints a table of sessions, in the order given.
func (p *Printer) Sessions(sessions []audit.Session, now time.Time) error {
	rows := make([][]string, len(sessions))
	for i, s := range sessions {
		rows[i] = sessionCells(s, now)
	}
	return p.table(sessionHeads, rows, func(i int) string { return sessionColor(sessions[i]) }, nil)
}

// sessionCells are escaped and bounded.
func sessionCells(s audit.Session, now time.Time) []string {
	version := "-"
	if s.TLS != nil {
		version = strings.TrimPrefix(s.TLS.Version, "TLS ")
	}
	sent := "-"
	if !s.End.IsZero() {
		sent = Octets(s.Sent)
	}
	end := endCell(s)
	if s.Partial {
		end += ", not all recorded"
	}
	cells := []string{s.ID.String(), s.Start.UTC().Format(time.DateTime), Span(lasted(s, now)), userCell(s),
		s.Peer.Addr().String(), version, fmt.Sprint(s.Commands), fmt.Sprint(s.Retrieved), fmt.Sprint(s.Deleted), sent, end}
	return bounded(cells)
}

func lasted(s audit.Session, now time.Time) time.Duration {
	if s.End.IsZero() {
		return max(0, now.Sub(s.Start))
	}
	return s.End.Sub(s.Start)
}

func userCell(s audit.Session) string {
	if s.User == "" {
		return "-"
	}
	if s.Login != proxy.LoginOK {
		return s.User + " (refused)"
	}
	return s.User
}

func endCell(s audit.Session) string {
	if s.End.IsZero() {
		return "live"
	}
	return join(" by ", spaced(s.EndReason), s.EndSide)
}

func sessionColor(s audit.Session) string {
	switch {
	case s.Anomalies > 0 || s.Partial || s.TLS != nil && s.TLS.Legacy:
		return yellow
	case s.End.IsZero():
		return green
	case s.Login != proxy.LoginOK:
		return red
	}
	return plain
}
