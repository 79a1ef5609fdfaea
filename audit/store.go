package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mattn/go-sqlite3"
)

// store is the one connection that writes. It is the driver's own, beside database/sql: one goroutine
// uses it, and its statements stay prepared.
type store struct {
	conn    *sqlite3.SQLiteConn
	begin   *sqlite3.SQLiteStmt
	commit  *sqlite3.SQLiteStmt
	records map[shape]*sqlite3.SQLiteStmt
	session *sqlite3.SQLiteStmt
	block   *sqlite3.SQLiteStmt
	signed  *sqlite3.SQLiteStmt
	fact    *sqlite3.SQLiteStmt
	place   *sqlite3.SQLiteStmt
	places  *sqlite3.SQLiteStmt
	args    []driver.Value // of the statement being run
	boxes   boxes          // of args
	named   []driver.NamedValue
	kept    map[string]*sqlite3.SQLiteStmt // those that are only sometimes run, by their text
	backup  string                         // what was copied before a migration, "" if nothing was
}

// The settings the promise rests on. A power cut takes nothing that was committed: the WAL is synced by
// every commit (FULL), on macOS down to the platter (fullfsync). The first one must come before anything else is in
// the file, and lets retention give space back.
const writerPragmas = `
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA busy_timeout = 5000;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA fullfsync = 1;
PRAGMA checkpoint_fullfsync = 1;
PRAGMA journal_size_limit = 16777216;`

// openStore opens the database for writing, makes it if it is missing, and migrates it.
func openStore(path string, maxPages *atomic.Int64) (*store, error) {
	if err := create(path); err != nil {
		return nil, err
	}
	conn, err := (&sqlite3.SQLiteDriver{}).Open(dsn(path, "mode=rw&_mutex=no"))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, foreign(err))
	}
	s := &store{conn: conn.(*sqlite3.SQLiteConn), args: make([]driver.Value, 0, recordFields+2)}
	if err := s.prepare(path, maxPages); err != nil {
		s.conn.Close() // the first error is the one that tells
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// create makes the database file before SQLite does, so that it and the -wal and -shm, which take its
// mode, are never readable by others, whatever the umask. A file that exists is not opened: closing it again
// would drop the locks SQLite holds on it for the whole process (sqlite.org/howtocorrupt.html, 2.2).
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // SQLite will say what is wrong with it
	}
	if hasWAL(path) { // SQLite would remove it
		return fmt.Errorf("%s-wal holds a part of a database that is not at %[1]s: put that back, or move the WAL away as well", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Close()) // the umask may have taken our own bits
	}
	if err != nil {
		return fmt.Errorf("make the audit database: %w", err)
	}
	return nil
}

// dsn returns the URI of the database at path, which may hold any character.
func dsn(path, query string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path // no working directory: SQLite will say so
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(abs), RawQuery: query}
	return u.String()
}

func (s *store) prepare(path string, maxPages *atomic.Int64) error {
	// Whose database it is comes first: another program's must not even change its journal mode.
	version, fresh, err := s.version()
	if err != nil {
		return err
	}
	if err := checkVersion(version, fresh); err != nil {
		return err
	}
	if _, err := s.conn.Exec(writerPragmas, nil); err != nil {
		return fmt.Errorf("set pragmas: %w", err)
	}
	if err := s.checkPragmas(); err != nil {
		return err
	}
	if maxPages != nil {
		if _, err := s.number(fmt.Sprintf("PRAGMA max_page_count = %d", maxPages.Load())); err != nil {
			return err
		}
	}
	if err := s.migrate(path); err != nil {
		return err
	}
	return s.prepareStatements()
}

// checkPragmas reads back what the promise rests on: SQLite ignores a setting it cannot follow.
func (s *store) checkPragmas() error {
	mode, err := s.value("PRAGMA journal_mode")
	if err != nil {
		return err
	}
	sync, err := s.number("PRAGMA synchronous")
	if err != nil {
		return err
	}
	if mode != "wal" || sync != 2 {
		return fmt.Errorf("journal_mode is %v and synchronous %d, not wal and 2 (full): "+
			"keep the database on a local file system", mode, sync)
	}
	return nil
}

func (s *store) prepareStatements() error {
	for _, p := range []struct {
		stmt **sqlite3.SQLiteStmt
		text string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.session, upsertSession()},
		{&s.block, "INSERT INTO blocks(level, n, hash) VALUES(?, ?, ?)"},
		{&s.signed, insertCheckpoint},
		{&s.fact, "INSERT INTO meta(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value"},
		{&s.place, insertPlaces(1)},
		{&s.places, insertPlaces(placesAtOnce)},
	} {
		var err error
		if *p.stmt, err = s.prepareOne(p.text); err != nil {
			return err
		}
	}
	s.records, s.kept = map[shape]*sqlite3.SQLiteStmt{}, map[string]*sqlite3.SQLiteStmt{}
	return nil
}

func (s *store) prepareOne(text string) (*sqlite3.SQLiteStmt, error) {
	stmt, err := s.conn.Prepare(text)
	if err != nil {
		return nil, fmt.Errorf("prepare %.40q: %w", text, err)
	}
	return stmt.(*sqlite3.SQLiteStmt), nil
}

// insertCheckpoint numbers the checkpoints, so that one that is removed is missed.
const insertCheckpoint = "INSERT INTO checkpoints(size, n, note) VALUES(?, 1 + ifnull((SELECT n FROM checkpoints ORDER BY size DESC LIMIT 1), 0), ?)"

// upsertSession writes a session's row whole, whether it is there or not.
func upsertSession() string {
	var set []string
	for name := range strings.SplitSeq(sessionColumns, ", ") {
		if name != "id" {
			set = append(set, name+" = excluded."+name)
		}
	}
	return "INSERT INTO sessions(" + sessionColumns + ") VALUES(" + marks(sessionColumns) + ")" +
		" ON CONFLICT(id) DO UPDATE SET " + strings.Join(set, ", ")
}

// marks returns one "?" for each of the columns.
func marks(columns string) string {
	return strings.Repeat("?,", strings.Count(columns, ",")) + "?"
}

// run executes a prepared statement with s.args. QueryContext binds all arguments in one call into C, Exec one by
// one; Query would make a list of them anew each time.
func (s *store) run(stmt *sqlite3.SQLiteStmt) error {
	s.named = s.named[:0]
	for i, v := range s.args {
		s.named = append(s.named, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	rows, err := stmt.QueryContext(context.Background(), s.named)
	if err != nil {
		return err
	}
	return rows.Close()
}

func (s *store) exec(stmt *sqlite3.SQLiteStmt) error {
	s.args = s.args[:0]
	return s.run(stmt)
}

// insert adds a record, sealed with the seed, and returns the hash of its leaf.
func (s *store) insert(r *Record, e *encoder, seed *seed) (hash, error) {
	s.args = r.appendValues(s.args[:0], &s.boxes)
	e.seal(s.args, seed)
	s.args = e.appendSeal(s.args)
	stmt, err := s.inserting()
	if err != nil {
		return e.sum, err
	}
	return e.sum, s.run(stmt)
}

func (s *store) insertBlock(level int, n int64, root hash) error {
	s.args = append(s.args[:0], int64(level), n, root[:])
	return s.run(s.block)
}

// cosign adds signature lines to the checkpoint of that size. What is wrong with the lines, or that there is no such
// checkpoint, is told apart from what is wrong with the database.
func (s *store) cosign(size int64, lines string) (wrong, err error) {
	rows, err := s.rows("SELECT note FROM checkpoints WHERE size = ?", 1, size)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return fmt.Errorf("checkpoint of record %d: %w", size, ErrNotFound), nil
	}
	signed, _ := rows[0][0].(string)
	note, wrong := cosigned(signed, lines)
	if wrong != nil || note == signed {
		return wrong, nil
	}
	_, err = s.conn.Exec("UPDATE checkpoints SET note = ? WHERE size = ?", []driver.Value{note, size})
	return nil, err
}

func (s *store) insertCheckpoint(c *Checkpoint) error {
	s.args = append(s.args[:0], c.Size, c.Note)
	return s.run(s.signed)
}

// note keeps what is true of the whole log.
func (s *store) note(name, value string) error {
	s.args = append(s.args[:0], name, value)
	return s.run(s.fact)
}

func (s *store) upsert(v *Session) error {
	s.args = v.appendValues(s.args[:0], &s.boxes)
	return s.run(s.session)
}

// change runs a statement that is prepared when it is first run, and returns how many rows it changed.
func (s *store) change(text string, args ...driver.Value) (rows int64, err error) {
	stmt := s.kept[text]
	if stmt == nil {
		if stmt, err = s.prepareOne(text); err != nil {
			return 0, err
		}
		s.kept[text] = stmt
	}
	result, err := stmt.Exec(args)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// rollback gives up the transaction.
func (s *store) rollback() error {
	_, err := s.conn.Exec("ROLLBACK", nil)
	return err
}

// rows asks for rows of as many columns.
func (s *store) rows(query string, columns int, args ...driver.Value) (all [][]driver.Value, err error) {
	rows, err := s.conn.Query(query, args)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for {
		row := make([]driver.Value, columns)
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, row)
	}
}

// number asks for one integer.
func (s *store) number(query string) (int64, error) {
	v, err := s.value(query)
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("%s: got %v, want a number", query, v)
	}
	return n, nil
}

// value asks for one value.
func (s *store) value(query string) (driver.Value, error) {
	rows, err := s.conn.Query(query, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	row := make([]driver.Value, len(rows.Columns()))
	if len(row) == 0 {
		return nil, fmt.Errorf("%s: no answer", query)
	}
	if err := rows.Next(row); err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	return row[0], nil
}

// lastSeq returns the number of the newest record, 0 when there is none.
func (s *store) lastSeq() (int64, error) {
	return s.number("SELECT ifnull(max(seq), 0) FROM records")
}

// close frees the connection. The last connection to close empties the WAL into the database.
func (s *store) close() error {
	var errs []error
	for _, stmt := range slices.Concat(slices.Collect(maps.Values(s.records)), slices.Collect(maps.Values(s.kept)),
		[]*sqlite3.SQLiteStmt{s.begin, s.commit, s.session, s.block, s.signed, s.fact, s.place, s.places}) {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(append(errs, s.conn.Close())...)
}

var errRead = errors.New("the database is being read by a program that does not end")

// rewriteWAL writes what is in the WAL into the database and begins the WAL anew. After a write or a sync that failed
// the system holds pages for clean that may not be on disk; a record behind such a page would be lost with it.
func (s *store) rewriteWAL() error {
	busy, err := s.number("PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil && busy != 0 {
		err = errRead
	}
	return err
}
