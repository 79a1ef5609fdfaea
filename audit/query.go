package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/proxy"
)

// where gathers conditions that must all hold.
type where struct {
	terms []string
	args  []any
}

func (w *where) and(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

// copy returns conditions that may be added to.
func (w *where) copy() *where { return &where{slices.Clone(w.terms), slices.Clone(w.args)} }

// within asks that the column ip lies in p.
func (w *where) within(p netip.Prefix) {
	if !p.IsValid() {
		return
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	first, last := firstAndLast(p)
	w.and("length(ip) = ? AND ip BETWEEN ? AND ?", len(first), first, last)
}

func (w *where) String() string {
	if len(w.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.terms, " AND ")
}

// queryer is a *sql.DB or a *sql.Tx.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// selectRecords reads records with a number in (after, last], oldest first.
func selectRecords(ctx context.Context, q queryer, after, last int64, limit int, f Filter) ([]Record, error) {
	query, args := f.query(after, last, limit)
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r *Record) error { return r.scan(rows) })
}

func (f Filter) query(after, last int64, limit int) (query string, args []any) {
	w := f.where()
	if f.Session != 0 {
		return ofSession(int64(f.Session), after, last, limit, w)
	}
	w.and("seq > ? AND seq <= ?", after, last)
	return "SELECT " + recordColumns + " FROM records" + w.String() + " ORDER BY seq LIMIT ?", append(w.args, limit)
}

// where is what f asks of a record, but for its session.
func (f Filter) where() *where {
	w := new(where)
	if f.User != "" {
		w.and("user = ?", f.User)
	}
	w.within(f.Addr)
	return w
}

// selectSessions reads sessions, newest first; sq.Limit is taken as it stands.
func selectSessions(ctx context.Context, q queryer, sq SessionQuery) ([]Session, error) {
	w := sq.where()
	query := "SELECT " + sessionColumns + " FROM sessions" + w.String() + " ORDER BY id DESC LIMIT ?"
	rows, err := q.QueryContext(ctx, query, append(w.args, sq.Limit)...)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(s *Session) error { return s.scan(rows) })
}

func (q SessionQuery) where() *where {
	w := new(where)
	if q.User != "" {
		w.and("user = ? AND user <> ''", q.User) // twice, or SQLite does not see the index
	}
	w.within(q.Addr)
	if q.Live {
		w.and("ended = 0")
	}
	if !q.Since.IsZero() {
		// Numbers of sessions follow their start closely but not strictly. The first number bounds the
		// walk from the newest session down, the start decides.
		w.and("id >= (SELECT min(+id) FROM sessions WHERE started >= ?) AND +started >= ?",
			nanos(q.Since), nanos(q.Since))
	}
	if q.Before != 0 {
		w.and("id < ?", int64(q.Before))
	}
	return w
}

func selectSession(ctx context.Context, q queryer, id proxy.SessionID) (Session, error) {
	var s Session
	row := q.QueryRowContext(ctx, "SELECT "+sessionColumns+" FROM sessions WHERE id = ?", int64(id))
	err := s.scan(row)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("session %s: %w", id, ErrNotFound)
	}
	return s, err
}

func selectLastSeq(ctx context.Context, q queryer) (seq int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT ifnull(max(seq), 0) FROM records").Scan(&seq)
	return seq, err
}

// selectNextSeq returns the number of the first record that there is after a number, or the number if there is none.
func selectNextSeq(ctx context.Context, q queryer, after int64) (seq int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT ifnull(min(seq), ?1) FROM records WHERE seq > ?1", after).Scan(&seq)
	return seq, err
}

func selectTotals(ctx context.Context, q queryer, since time.Time) (t Totals, err error) {
	const query = `SELECT count(*), ifnull(sum(login = ?), 0), ifnull(sum(logins_failed), 0),
		ifnull(sum(commands), 0), ifnull(sum(retrieved), 0), ifnull(sum(deleted), 0),
		ifnull(sum(sent), 0), ifnull(sum(received), 0), ifnull(sum(anomalies), 0)
		FROM sessions WHERE started >= ?`
	err = q.QueryRowContext(ctx, query, proxy.LoginOK, nanos(since)).Scan(
		&t.Sessions, &t.LoginsOK, &t.LoginsFailed, &t.Commands, &t.Retrieved, &t.Deleted,
		&t.Sent, &t.Received, &t.Anomalies)
	return t, err
}

// collect reads all rows and closes them: rows left open would pin the WAL.
func collect[T any](rows *sql.Rows, scan func(*T) error) ([]T, error) {
	defer rows.Close()
	all := []T{} // an empty list, not null, in JSON
	for rows.Next() {
		var v T
		if err := scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
