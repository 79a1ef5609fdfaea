package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"postern/proxy"
)

// readerConns bounds the connections of one Reader; further reads wait their turn.
const readerConns = 8

// maxRecords bounds one answer of Records.
const maxRecords = 10_000

// Reader reads the log; any number of goroutines may share one. Answers are never nil, so that they are
// lists in JSON also when they are empty.
type Reader struct {
	path   string
	db     *sql.DB
	closed atomic.Bool

	// grown returns a channel that is closed when the log has grown. It is nil in a process that does
	// not write the log: there Tail polls.
	grown func() <-chan struct{}
}

// OpenReader opens the database for reading only, also while another process writes to it.
func OpenReader(path string) (*Reader, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no audit log at %s: start postern serve, or name another file: %w",
			path, fs.ErrNotExist)
	}
	r, err := openReader(path)
	if err != nil {
		return nil, fmt.Errorf("open audit log %s: %w", path, withRemedy(err, path))
	}
	return r, nil
}

func openReader(path string) (*Reader, error) {
	r, err := readFrom(path, "")
	if isOnReadOnly(err) && !hasWAL(path) {
		return readFrom(path, "&immutable=1")
	}
	return r, err
}

// isOnReadOnly tells whether SQLite lacks a place for the index of the WAL beside the database, as on a read-only disk.
func isOnReadOnly(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && (e.Code == sqlite3.ErrReadonly || e.Code == sqlite3.ErrCantOpen)
}

// hasWAL tells whether part of the log is not in the database yet.
func hasWAL(path string) bool {
	info, err := os.Stat(path + "-wal")
	return err == nil && info.Size() > 0
}

// readFrom opens the database with more in its query.
func readFrom(path, more string) (*Reader, error) {
	db, err := sql.Open("sqlite3", dsn(path, "mode=ro&_query_only=1&_busy_timeout=5000&_txlock=deferred"+more))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readerConns)
	db.SetMaxIdleConns(readerConns)
	r := &Reader{path: path, db: db}
	if err := r.check(); err != nil {
		db.Close() // the first error is the one that tells
		return nil, err
	}
	return r, nil
}

// check refuses what is no log of ours, or of a schema that is not this program's.
func (r *Reader) check() error {
	var id, version int64
	row := r.db.QueryRow("SELECT application_id, user_version FROM pragma_application_id, pragma_user_version")
	if err := row.Scan(&id, &version); err != nil {
		return foreign(err)
	}
	if id != applicationID {
		return ErrNotALog
	}
	if version < schemaVersion {
		return fmt.Errorf("its schema is %d, this postern reads %d: start postern serve once, it migrates",
			version, schemaVersion)
	}
	return checkVersion(version, false)
}

// Close frees the Reader's connections; a Tail that waits ends with ErrClosed. The Reader of a Log is
// closed by the Log.
func (r *Reader) Close() error {
	r.closed.Store(true)
	return r.db.Close()
}

// LastSeq returns the number of the newest record, 0 when there is none.
func (r *Reader) LastSeq(ctx context.Context) (int64, error) {
	seq, err := selectLastSeq(ctx, r.db)
	return seq, r.wrap("read the last record's number", err)
}

// Records returns the records after the given number that f chooses, oldest first: at most limit, and at
// most 10,000.
func (r *Reader) Records(ctx context.Context, after int64, limit int, f Filter) ([]Record, error) {
	recs, err := selectRecords(ctx, r.db, after, math.MaxInt64, min(limit, maxRecords), f)
	return recs, r.wrap("read records", err)
}

// Transcript returns the records of one session after the given number, oldest first: at most limit, and
// at most 10,000.
func (r *Reader) Transcript(ctx context.Context, id proxy.SessionID, after int64, limit int) ([]Record, error) {
	if id == 0 {
		return nil, fmt.Errorf("read transcript: no session: %w", ErrNotFound)
	}
	return r.Records(ctx, after, limit, Filter{Session: id})
}

// Sessions returns the sessions q chooses, newest first.
func (r *Reader) Sessions(ctx context.Context, q SessionQuery) ([]Session, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Limit = min(q.Limit, MaxSessions)
	list, err := selectSessions(ctx, r.db, q)
	return list, r.wrap("read sessions", err)
}

// Session returns one session, or an error wrapping ErrNotFound.
func (r *Reader) Session(ctx context.Context, id proxy.SessionID) (Session, error) {
	s, err := selectSession(ctx, r.db, id)
	return s, r.wrap("read session", err)
}

// Snapshot returns the live sessions and the totals of the sessions started at or after since, all as of
// one moment. A Tail after its LastSeq goes on where it ends.
func (r *Reader) Snapshot(ctx context.Context, since time.Time) (Snapshot, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Snapshot{}, r.wrap("read snapshot", err)
	}
	defer tx.Rollback() // nothing was written
	snap, err := snapshot(ctx, tx, since)
	return snap, r.wrap("read snapshot", err)
}

func snapshot(ctx context.Context, tx *sql.Tx, since time.Time) (s Snapshot, err error) {
	if s.LastSeq, err = selectLastSeq(ctx, tx); err != nil {
		return s, err
	}
	if s.Live, err = selectSessions(ctx, tx, SessionQuery{Live: true, Limit: MaxLive}); err != nil {
		return s, err
	}
	row := tx.QueryRowContext(ctx, "SELECT count(*) FROM sessions WHERE ended = 0")
	if err = row.Scan(&s.LiveCount); err != nil {
		return s, err
	}
	s.Totals, err = selectTotals(ctx, tx, since)
	return s, err
}

// wrap says what was being done. After Close every error is ErrClosed.
func (r *Reader) wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case r.closed.Load():
		return fmt.Errorf("%s: %w", doing, ErrClosed)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Verifier returns the verifier key of the log's checkpoints (C2SP signed-note), "" before the first.
func (r *Reader) Verifier(ctx context.Context) (string, error) {
	key, err := meta(ctx, r.db, metaKey)
	return key, r.wrap("read the log's key", err)
}
