package proxy

import (
	"strconv"
	"strings"
)

// Tally is what the records of a session add up to.
type Tally struct {
	User, Login                  string // of the last attempt
	Failed                       int64  // logins
	Commands, Opened, Retrieved  int64
	Deleted, RolledBack, Unknown int64 // deletes, by their fate
	Anomalies, Octets            int64
	Received, Sent               int64
	End                          string // whose doing, and why
}

// judgeTally holds what the log's table of sessions has against the records, and its octets against the script where
// that knows them.
func (m *simulation) judgeTally(got Tally, rows []string) {
	want := tallyOf(rows)
	want.Received, want.Sent = got.Received, got.Sent
	if m.script.resetBehind < 0 {
		want.Sent = int64(len(m.got))
		if m.script.mode == ModeSTLS {
			want.Sent += int64(len(begin))
		}
	}
	if want.End == "by=client eof" {
		want.Received = m.script.sent()
	}
	if got != want {
		m.t.Errorf("the session's row is\n%+v\nwant\n%+v\nrecords:\n%s", got, want, strings.Join(rows, "\n"))
	}
}

func tallyOf(rows []string) (t Tally) {
	for _, row := range rows {
		kind, rest, _ := strings.Cut(row, " ")
		switch kind {
		case "command":
			t.addCommand(rest)
		case "opened":
			t.Opened++
		case "delete":
			t.addDelete(rest)
		case "anomaly":
			t.Anomalies++
		case "end":
			t.End = rest[strings.Index(rest, "by="):]
		}
	}
	return t
}

func (t *Tally) addCommand(row string) {
	t.Commands++
	octets, _ := strconv.ParseInt(field(row, "octets"), 10, 64)
	t.Octets += octets
	if strings.HasPrefix(row, "RETR ") && strings.Contains(row, " +OK") && !strings.Contains(row, " partial") {
		t.Retrieved++
	}
	if login := field(row, "login"); login != "" {
		t.User, t.Login = strings.Trim(field(row, "user"), `"`), login
		if login == LoginFailed {
			t.Failed++
		}
	}
}

func (t *Tally) addDelete(row string) {
	switch row[strings.LastIndexByte(row, ' ')+1:] {
	case DeleteCommitted:
		t.Deleted++
	case DeleteRolledBack:
		t.RolledBack++
	case DeleteUnknown:
		t.Unknown++
	}
}

// field returns the value that row has for name, or "".
func field(row, name string) string {
	_, value, _ := strings.Cut(row, " "+name+"=")
	value, _, _ = strings.Cut(value, " ")
	return value
}
