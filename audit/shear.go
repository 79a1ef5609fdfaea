package audit

import (
	"context"
	"slices"

	"postern/proxy"
)

// pieceRecords bounds the records of one session that are thinned or deleted in one transaction.
const pieceRecords = 4096

// piece is what a rule takes of one unit in one transaction.
type piece struct {
	unit  *unit
	first bool     // of the unit's
	upTo  int64    // of a session whose records are deleted: the number up to which they are
	rows  []shorn  // thinned
	row   *Session // what is left of the session adds up to; nil if its row goes, or there is none
}

// shorn is a record that has lost a group of its fields.
type shorn struct {
	row    values // in the order of recordColumns
	column []byte // the seed
}

// shears take fields out of units.
type shears struct {
	reader  *Reader
	encoder *encoder
}

// thin calls do with what takes the group's fields out of u, piece by piece.
func (s *shears) thin(ctx context.Context, u *unit, g group, do func(*piece) error) error {
	if u.session == 0 {
		rows, _, err := s.read(ctx, "seq = ?", []any{u.first}, g, nil)
		if err != nil || len(rows) == 0 {
			return err
		}
		return do(&piece{unit: u, first: true, rows: rows})
	}
	var left Session // the records so far add up to
	for after, first, more := int64(0), true, true; more; {
		args := []any{u.session, after, pieceRecords}
		rows, read, err := s.read(ctx, "seq IN (SELECT record FROM session_records WHERE session_id = ? AND record > ? ORDER BY record LIMIT ?) ORDER BY seq", args, g, &left)
		if err != nil {
			return err
		}
		if more = len(read) == pieceRecords; more {
			after = read[len(read)-1]
		}
		if len(rows) == 0 {
			continue
		}
		row, err := s.addUp(ctx, left, proxy.SessionID(u.session), after, more)
		if err != nil {
			return err
		}
		if err := do(&piece{unit: u, first: first, rows: rows, row: row}); err != nil {
			return err
		}
		first = false
	}
	return nil
}

// addUp returns the row of a session of which left is known, and if there are more, the records after that number. What the
// first version noted of lost records stands in the row alone.
func (s *shears) addUp(ctx context.Context, left Session, id proxy.SessionID, after int64, more bool) (*Session, error) {
	was, err := selectSession(ctx, s.reader.db, id)
	if err != nil {
		return nil, err
	}
	if more {
		err = replayAfter(ctx, s.reader, id, after, func(r *Record) { left.apply(r) })
	}
	left.Partial = left.Partial || was.Partial
	return &left, err
}

// read thins the records that where chooses. It returns those that had something to lose, and the numbers of all; left
// takes in all of them as they are afterwards.
func (s *shears) read(ctx context.Context, where string, args []any, g group, left *Session) (lost []shorn, read []int64, err error) {
	rows, err := s.reader.db.QueryContext(ctx, "SELECT "+recordColumns+", seed FROM records WHERE "+where, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		row := make(values, recordFields+1)
		if err := rows.Scan(row.cells()...); err != nil {
			return nil, nil, err
		}
		read = append(read, row[placeSeq].(int64))
		cut, err := s.cut(row, g)
		if err != nil {
			return nil, nil, err
		}
		if cut != nil {
			lost = append(lost, *cut)
		}
		if left == nil {
			continue
		}
		var r Record
		if err := r.scan(row[:recordFields]); err != nil {
			return nil, nil, err
		}
		left.apply(&r)
	}
	return lost, read, rows.Err()
}

// cut takes the group's fields out of a row. It returns nil if there were none.
func (s *shears) cut(row values, g group) (*shorn, error) {
	was, _ := row[recordFields].([]byte)
	column, err := s.encoder.thin(row[:recordFields], was, g)
	if err != nil || slices.Equal(column, was) {
		return nil, err
	}
	return &shorn{row: row[:recordFields], column: column}, nil
}
