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

// open opens the file as any program could. The oracle does not look at the log by the log's own eyes.
func (l *auditedLog) open() *sql.DB {
	db, err := sql.Open("sqlite3", "file:"+l.path+"?mode=ro")
	if err != nil {
		l.t.Fatal(err)
	}
	return db
}

// selectEvents asks for a log's events. The name of who is logged in stands on every record, that of an attempt on the one
// that ends it.
const selectEvents = `SELECT seq, session, kind, verb, arg, status, code, text, local, partial, message, uid, announced, octets, lines,
	CASE WHEN login <> '' THEN user ELSE '' END, mechanism, login, side, detail, count, received, sent, tls IS NOT NULL, mail IS NOT NULL,
	ifnull(json_extract(mail, '$.sha256'), ''), ifnull(json_extract(mail, '$.message_id'), ''), ifnull(json_extract(mail, '$.from'), ''),
	ifnull(json_extract(mail, '$.date'), ''), ifnull(json_extract(mail, '$.subject'), '')
	FROM records ORDER BY seq`

func (l *auditedLog) Events() (events []proxy.Event) {
	db := l.open()
	defer db.Close()
	rows, err := db.Query(selectEvents)
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	for last := int64(0); rows.Next(); last++ {
		var seq int64
		var secure, ofMail bool
		var ev proxy.Event
		var mail proxy.Mail
		err := rows.Scan(&seq, &ev.Session, &ev.Kind, &ev.Verb, &ev.Arg, &ev.Status, &ev.Code, &ev.Text, &ev.Local, &ev.Partial,
			&ev.Message, &ev.UID, &ev.Announced, &ev.Octets, &ev.Lines, &ev.User, &ev.Mechanism, &ev.Login, &ev.Side, &ev.Detail,
			&ev.Count, &ev.Received, &ev.Sent, &secure, &ofMail, &mail.SHA256, &mail.MessageID, &mail.From, &mail.Date, &mail.Subject)
		if err != nil || seq != last+1 {
			l.t.Fatalf("record %d comes after %d, %v", seq, last, err)
		}
		if secure {
			ev.TLS = new(proxy.TLS)
		}
		if ofMail {
			ev.Mail = &mail
		}
		if ev.Kind != proxy.KindStart && ev.Kind != proxy.KindStop && ev.Kind != proxy.KindState {
			events = append(events, ev)
		}
	}
	if err := rows.Err(); err != nil {
		l.t.Error(err)
	}
	return events
}

// Tally returns the session's row in the table of sessions, which has no other.
func (l *auditedLog) Tally(id proxy.SessionID) (t proxy.Tally) {
	db := l.open()
	defer db.Close()
	var sessions int
	var state, ended string
	err := db.QueryRow(`SELECT (SELECT count(*) FROM sessions), state, iif(ended > 0, 'yes', 'no'), user, login, logins_failed, commands, opened,
		retrieved, deleted, rolled_back, unknown, anomalies, octets, received, sent, 'by=' || end_side || ' ' || end_reason
		FROM sessions WHERE id = ?`, int64(id)).Scan(&sessions, &state, &ended, &t.User, &t.Login, &t.Failed, &t.Commands, &t.Opened,
		&t.Retrieved, &t.Deleted, &t.RolledBack, &t.Unknown, &t.Anomalies, &t.Octets, &t.Received, &t.Sent, &t.End)
	if err != nil || sessions != 1 || state != "ended" || ended != "yes" {
		l.t.Errorf("the row of session %s, of %d, is %s, ended %s: %v", id, sessions, state, ended, err)
	}
	return t
}
