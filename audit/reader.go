package audit

import (
	"context"
	"iter"
	"time"

	"postern/proxy"
)

// Reader reads the log; any number of goroutines may share one.
type Reader struct{}

// OpenReader opens the database for reading only, also while another process writes to it.
func OpenReader(path string) (*Reader, error) { return nil, ErrNotALog }

// Close frees the Reader's connections. The Reader of a Log is closed by the Log.
func (r *Reader) Close() error { return nil }

// LastSeq returns the number of the newest record, 0 when there is none.
func (r *Reader) LastSeq(ctx context.Context) (int64, error) { return 0, ErrClosed }

// Records returns at most limit records after the given number that f chooses, oldest first.
func (r *Reader) Records(ctx context.Context, after int64, limit int, f Filter) ([]Record, error) {
	return nil, ErrClosed
}

// Tail yields batches of the records after the given number that f chooses, oldest first, and when it
// has caught up waits for the log to grow. A batch holds 1 to 500 records, never none: a caller resumes from
// the Seq of the last record it saw. It ends when ctx does, then without an error, or after an error.
func (r *Reader) Tail(ctx context.Context, after int64, f Filter) iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) { yield(nil, ErrClosed) }
}

// Sessions returns the sessions q chooses, newest first.
func (r *Reader) Sessions(ctx context.Context, q SessionQuery) ([]Session, error) {
	return nil, ErrClosed
}

// Session returns one session, or an error wrapping ErrNotFound.
func (r *Reader) Session(ctx context.Context, id proxy.SessionID) (Session, error) {
	return Session{}, ErrClosed
}

// Transcript returns at most limit records of one session after the given number, oldest first.
func (r *Reader) Transcript(ctx context.Context, id proxy.SessionID, after int64, limit int) ([]Record, error) {
	return r.Records(ctx, after, limit, Filter{Session: id})
}

// Snapshot returns the live sessions and the totals of the sessions started at or after since, all as of
// one moment.
func (r *Reader) Snapshot(ctx context.Context, since time.Time) (Snapshot, error) {
	return Snapshot{}, ErrClosed
}
