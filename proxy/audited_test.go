package proxy_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"postern/audit"
	"postern/proxy"
)

// The audit log stands above the relay and imports it, so the simulation is given a real one from out here.
func TestSimulate(t *testing.T) { proxy.Simulate(t, openAudited) }

// auditedLog is a real audit log in a directory of the test's, strict: every receipt that is good stands on an fsync.
type auditedLog struct {
	*audit.Log
	t     *testing.T
	path  string
	fails bool
}

func openAudited(t *testing.T, keeps int) proxy.SimulatedLog {
	path := filepath.Join(t.TempDir(), "audit.db")
	log, err := audit.Open(context.Background(), audit.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if keeps >= 0 {
		refuseAfter(t, path, 1+keeps) // the start record is the first
	}
	return &auditedLog{Log: log, t: t, path: path, fails: keeps >= 0}
}

// refuseAfter makes the database refuse every record after number seq, and the gap record that would tell that it is
// well again.
func refuseAfter(t *testing.T, path string, seq int) {
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(fmt.Sprintf(`CREATE TRIGGER refuse BEFORE INSERT ON records WHEN new.seq > %d OR new.kind = 'gap'
		BEGIN SELECT RAISE(ABORT, 'no more'); END`, seq))
	if err != nil {
		t.Fatal(err)
	}
}

// Kept returns how many records anybody who reads the log can see.
func (l *auditedLog) Kept() int {
	seq, err := l.Reader().LastSeq(context.Background())
	if err != nil {
		l.t.Error(err)
	}
	return int(seq) - 1
}

// Close must be called within the simulation, whose clock the log runs by and whose goroutines it is part of.
func (l *auditedLog) Close() {
	if err := l.Log.Close(); err != nil && !l.fails {
		l.t.Error(err)
	}
}

// reopen reads what is in the file once the log is closed.
func (l *auditedLog) reopen() *audit.Reader {
	reader, err := audit.OpenReader(l.path)
	if err != nil {
		l.t.Fatal(err)
	}
	return reader
}

func (l *auditedLog) Events() (events []proxy.Event) {
	reader := l.reopen()
	defer reader.Close()
	records, err := reader.Records(context.Background(), 0, 10_000, audit.Filter{})
	if err != nil {
		l.t.Error(err)
	}
	for _, r := range records {
		if r.Kind != proxy.KindStart && r.Kind != proxy.KindStop && r.Kind != proxy.KindState {
			events = append(events, eventOf(r))
		}
	}
	return events
}

// eventOf undoes what the log makes of an event: the name of who is logged in stands on every record.
func eventOf(r audit.Record) proxy.Event {
	ev := proxy.Event{
		Session: r.Session, Time: r.Time, Kind: r.Kind,
		Verb: r.Verb, Arg: r.Arg, Status: r.Status, Code: r.Code, Text: r.Text,
		Local: r.Local, Partial: r.Partial, Message: r.Message, UID: r.UID, Announced: r.Announced,
		Octets: r.Octets, Lines: r.Lines, Duration: r.Duration,
		Mechanism: r.Mechanism, Login: r.Login, Side: r.Side, Detail: r.Detail, Count: r.Count,
		Peer: r.Peer, Listener: r.Listener, Backend: r.Backend, TLS: (*proxy.TLS)(r.TLS), Mail: (*proxy.Mail)(r.Mail),
		Received: r.Received, Sent: r.Sent,
	}
	if r.Login != "" {
		ev.User = r.User
	}
	return ev
}

// Tally returns the session's row in the table of sessions.
func (l *auditedLog) Tally(id proxy.SessionID) proxy.Tally {
	reader := l.reopen()
	defer reader.Close()
	s, err := reader.Session(context.Background(), id)
	if err != nil {
		l.t.Error(err)
	}
	return proxy.Tally{
		User: s.User, Login: s.Login, Failed: s.LoginsFailed, Commands: s.Commands, Opened: s.Opened,
		Retrieved: s.Retrieved, Deleted: s.Deleted, RolledBack: s.RolledBack, Unknown: s.Unknown,
		Anomalies: s.Anomalies, Octets: s.Octets, Received: s.Received, Sent: s.Sent,
		End: fmt.Sprintf("by=%s %s", s.EndSide, s.EndReason),
	}
}
