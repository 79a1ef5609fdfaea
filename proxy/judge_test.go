package proxy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// judge holds the whole session against the script.
func (m *simulation) judge() {
	events := m.log.Events()
	if text := fmt.Sprint(events); strings.Contains(text, password) || strings.Contains(text, passwordIn64) {
		m.t.Error("a secret is on record:", text)
	}
	rows := rowsOf(events)
	switch whole := len(m.script.rows()); {
	case m.script.resetBehind >= 0 && len(rows) == 0:
		return // it never said anything
	case m.script.resetBehind >= 0:
		m.judgeReset(rows)
	case m.script.keeps >= 0 && m.script.keeps < whole:
		m.judgeRefused(rows)
		return
	default:
		m.judgeWhole(rows)
	}
	if table, ok := m.log.(interface{ Tally(SessionID) Tally }); ok {
		m.judgeTally(table.Tally(events[0].Session), rows)
	}
}

// judgeWhole holds a session that took its course, to the last octet.
func (m *simulation) judgeWhole(rows []string) {
	if want := m.script.received(); string(m.got) != want {
		m.t.Errorf("the client got %d octets, want %d; not %s", len(m.got), len(want), brief(want[min(len(m.got), len(want)):]))
	}
	if got, want := strings.Join(rows, "\n"), strings.Join(m.script.rows(), "\n"); got != want {
		m.t.Errorf("records:\n%s\nwant:\n%s", got, want)
	}
}

// judgeRefused holds a session whose log failed: what is on record is its beginning, and the client has been told,
// unless it has everything, or a part of a message that cannot be taken back.
func (m *simulation) judgeRefused(rows []string) {
	all := m.script.rows()
	got, want := strings.Join(rows, "\n"), strings.Join(all[:min(len(rows), m.script.keeps)], "\n")
	if _, slow := m.log.(*slowLog); got != want || slow && len(rows) < m.script.keeps {
		m.t.Errorf("records:\n%s\nwant %d of:\n%s", got, m.script.keeps, strings.Join(all, "\n"))
	}
	n, _ := m.script.relayed(string(m.got))
	told, owed := string(m.got[n:]), ""
	if slices.Contains(m.script.betweens(), n) {
		owed = refusal
	}
	if told != owed {
		m.t.Errorf("the client has %d octets of %d, then %q, want %q", n, len(m.script.received()), told, owed)
	}
}

// judgeReset holds a session that the client reset against the script: what is on record is its beginning, then
// at most one command without a whole reply, with what the proxy asked for before it and the rest of its run, the fate of each
// delete, and the end.
func (m *simulation) judgeReset(rows []string) {
	want := m.script.rows()
	same := 0
	for same < len(rows) && same < len(want) && rows[same] == want[same] {
		same++
	}
	rest := rows[same:]
	if len(rest) > 0 && strings.HasPrefix(rest[0], "asked ") {
		rest = rest[1:]
	}
	if len(rest) > 0 && strings.HasPrefix(rest[0], "command ") {
		rest = rest[1:]
	}
	for len(rest) > 0 && m.script.abandons(rest[0]) {
		rest = rest[1:]
	}
	for len(rest) > 0 && strings.HasPrefix(rest[0], "delete ") {
		rest = rest[1:]
	}
	quit := strings.HasSuffix(rows[len(rows)-1], "client quit")
	if len(rest) > 1 || len(rest) == 0 && !quit || len(rest) == 1 && rest[0] != "end by=client reset" {
		m.t.Errorf("records:\n%s\nof:\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	m.judgeHeard(rows)
	if marked, settled := deletes(rows); marked != settled {
		m.t.Errorf("%d deletes and %d fates:\n%s", marked, settled, strings.Join(rows, "\n"))
	}
	last := m.script.exchanges[m.script.resetBehind].forward
	if late := m.goneAt.Sub(m.resetAt); late > time.Second && last != "QUIT\r\n" {
		m.t.Errorf("the backend was kept for %v after the client's reset", late)
	}
}

// abandons reports whether row tells of a command of a run, and of no reply to it.
func (s *script) abandons(row string) bool {
	return slices.ContainsFunc(s.exchanges, func(x exchange) bool {
		rest, is := strings.CutPrefix(row, x.row.head)
		return is && x.joins && (rest == "" || strings.HasPrefix(rest, " msg="))
	})
}

// judgeHeard holds that all is on record that the backend has heard, in order.
func (m *simulation) judgeHeard(rows []string) {
	left := rows
	for _, x := range m.script.exchanges[:m.heard] {
		if x.forward == "" || x.row.head == "" {
			continue
		}
		i := slices.IndexFunc(left, func(row string) bool { return strings.HasPrefix(row, x.row.head) })
		if i < 0 {
			m.t.Errorf("the backend has heard %s, which is not on record:\n%s", brief(x.forward), strings.Join(rows, "\n"))
			return
		}
		left = left[i+1:]
	}
}

// deletes counts the messages that were marked as deleted, once each until their fate, and the fates.
func deletes(rows []string) (marked, settled int) {
	open := map[string]bool{}
	for _, row := range rows {
		words := strings.Fields(row)
		switch {
		case strings.HasPrefix(row, "command DELE") && strings.Contains(row, "+OK"):
			if n := strings.Trim(words[2], `"`); !open[n] {
				open[n] = true
				marked++
			}
		case words[0] == "delete":
			delete(open, strings.TrimPrefix(words[1], "msg="))
			settled++
		}
	}
	return marked, settled
}
