package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mattn/go-sqlite3"
)

// lens is a connection that reads the database as it lies there, in transactions that end soon: while one is open the
// WAL cannot start over. It is the driver's own, beside database/sql, whose scanning would cost more than all
// hashing. One goroutine uses it.
type lens struct {
	conn  *sqlite3.SQLiteConn
	stmts map[string]*sqlite3.SQLiteStmt
	named []driver.NamedValue
}

func openLens(path string) (*lens, error) {
	conn, err := (&sqlite3.SQLiteDriver{}).Open(dsn(path, lensMode(path)))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, foreign(err))
	}
	return &lens{conn: conn.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}, nil
}

// lensMode lets a copy be read that lies where nothing may be written, such as on a medium that is read-only: there
// SQLite cannot make the files beside the database that it reads others through, and nobody changes it.
func lensMode(path string) string {
	const query = "mode=ro&_query_only=1&_busy_timeout=5000&_mutex=no"
	_, err := os.Stat(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) && !canWriteBeside(path) {
		return query + "&immutable=1"
	}
	return query
}

// prepare returns a statement that stays prepared.
func (l *lens) prepare(query string) (*sqlite3.SQLiteStmt, error) {
	if stmt := l.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := l.conn.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.40q: %w", query, err)
	}
	l.stmts[query] = stmt.(*sqlite3.SQLiteStmt)
	return l.stmts[query], nil
}

// within calls do in one transaction: all that it reads is of one moment.
func (l *lens) within(do func() error) error {
	if _, err := l.conn.Exec("BEGIN", nil); err != nil {
		return err
	}
	err := do()
	_, end := l.conn.Exec("ROLLBACK", nil)
	return errors.Join(err, end)
}

// each calls visit with each row of the query's answer. The row's memory is used again, its values are not.
func (l *lens) each(query string, row []driver.Value, visit func() error, args ...driver.Value) error {
	stmt, err := l.prepare(query)
	if err != nil {
		return err
	}
	l.named = l.named[:0]
	for i, v := range args {
		l.named = append(l.named, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	rows, err := stmt.QueryContext(context.Background(), l.named)
	if err != nil {
		return err
	}
	for {
		if err = rows.Next(row); err != nil {
			break
		}
		if err = visit(); err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// one returns the first row of the answer, nil if there is none.
func (l *lens) one(query string, columns int, args ...driver.Value) (found []driver.Value, err error) {
	row := make([]driver.Value, columns)
	err = l.each(query, row, func() error {
		if found == nil {
			found = append([]driver.Value{}, row...)
		}
		return nil
	}, args...)
	return found, err
}

// number returns the one integer that is the answer.
func (l *lens) number(query string, args ...driver.Value) (int64, error) {
	row, err := l.one(query, 1, args...)
	if err != nil {
		return 0, err
	}
	if len(row) == 0 {
		return 0, fmt.Errorf("%.40q: no answer", query)
	}
	n, ok := row[0].(int64)
	if !ok {
		return 0, fmt.Errorf("%.40q: got %v, want a number", query, row[0])
	}
	return n, nil
}

func (l *lens) close() error {
	var errs []error
	for _, stmt := range l.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, l.conn.Close())...)
}
