package audit

import (
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// shape is the set of columns of a record that hold something, a bit for each place. Each has a statement of its own
// that inserts it: a command fills some twelve of 36 columns, and those that are empty cost less as constants of the
// statement than as arguments (with the index of sessions written by rows of 32: 6.9 to 6.0 µs a record, 128 chatty sessions).
type shape uint64

const (
	// wholeShape is the shape of a record that has a value for each column. It fits all records.
	wholeShape shape = 1<<(recordFields+2) - 1
	// maxShapes bounds the statements but for the whole one, which inserts records of all other shapes.
	maxShapes = 64
)

// shapeOf tells which values of a row say something.
func shapeOf(row []driver.Value) (s shape) {
	for place, v := range row {
		if literalOf(v) == "" {
			s |= 1 << place
		}
	}
	return s
}

// literalOf returns an empty value as SQL has it, "" for all others.
func literalOf(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case int64:
		if v == 0 {
			return "0"
		}
	case string:
		if v == "" {
			return "''"
		}
	}
	return ""
}

// inserting returns the statement for the record in s.args, and leaves there what it has arguments for.
func (s *store) inserting() (stmt *sqlite3.SQLiteStmt, err error) {
	as := shapeOf(s.args)
	stmt = s.records[as]
	if stmt == nil && len(s.records) >= maxShapes {
		as, stmt = wholeShape, s.records[wholeShape]
	}
	if stmt == nil {
		if stmt, err = s.prepareOne(as.insert(s.args)); err != nil {
			return nil, err
		}
		s.records[as] = stmt
	}
	s.args = as.pick(s.args)
	return stmt, nil
}

// insert returns the text of the statement, made from one row of this shape.
func (s shape) insert(row []driver.Value) string {
	values := make([]string, len(row))
	for place, v := range row {
		if values[place] = literalOf(v); s.has(place) {
			values[place] = "?"
		}
	}
	return fmt.Sprintf("INSERT INTO records(%s, seed, hash) VALUES(%s)", recordColumns, strings.Join(values, ", "))
}

func (s shape) has(place int) bool { return s&(1<<place) != 0 }

// pick keeps the values of a row that are arguments.
func (s shape) pick(row []driver.Value) []driver.Value {
	picked := row[:0]
	for place, v := range row {
		if s.has(place) {
			picked = append(picked, v)
		}
	}
	return picked
}
