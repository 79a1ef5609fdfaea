package audit

import (
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mattn/go-sqlite3"
)

// applicationID marks a database as Postern's in its header: "Post".
const applicationID = 0x506f7374

// schemaVersion is the number of the newest file in schema/, and PRAGMA user_version of a database
// that is up to date.
const schemaVersion = 2

//go:embed schema/*.sql
var schemaFiles embed.FS

// migrate brings the database to schemaVersion, one transaction a step. What was there before is copied first.
func (s *store) migrate(path string) error {
	version, fresh, err := s.version()
	if err != nil {
		return err
	}
	if err := checkVersion(version, fresh); err != nil {
		return err
	}
	if version > 0 && version < schemaVersion {
		if err := s.keepCopy(path, version); err != nil {
			return fmt.Errorf("copy the database before it is migrated: %w", err)
		}
		// Only a VACUUM lets a database that was made without it give space back later.
		if _, err := s.conn.Exec("VACUUM", nil); err != nil {
			return fmt.Errorf("make the database ready to give space back, which takes as much room again beside it, and in "+
				"SQLITE_TMPDIR or /var/tmp: %w", err)
		}
	}
	for n := version + 1; n <= schemaVersion; n++ {
		if err := s.step(n); err != nil {
			return fmt.Errorf("migrate to schema %d: %w", n, err)
		}
	}
	return nil
}

// keepCopy copies the database, on disk when it returns, to a file beside it that is never written again.
func (s *store) keepCopy(path string, version int64) error {
	name := fmt.Sprintf("%s.v%d-backup-%s", path, version, time.Now().UTC().Format("20060102T150405Z"))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // SQLite fills an empty file, and keeps its mode
	if err != nil {
		return err
	}
	_, err = s.conn.Exec("VACUUM INTO ?", []driver.Value{name})
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = syncDir(name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	s.backup = name
	return nil
}

// version returns the schema's version, and whether nothing is in the database yet. A database that
// belongs to another program is an error.
func (s *store) version() (version int64, fresh bool, err error) {
	id, err := s.number("PRAGMA application_id")
	if err != nil {
		return 0, false, foreign(err)
	}
	tables, err := s.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return 0, false, foreign(err)
	}
	version, err = s.number("PRAGMA user_version")
	if err != nil {
		return 0, false, err
	}
	fresh = id == 0 && tables == 0 && version == 0
	if !fresh && id != applicationID {
		return 0, false, ErrNotALog
	}
	return version, fresh, nil
}

// checkVersion refuses what this program cannot write.
func checkVersion(version int64, fresh bool) error {
	if version > schemaVersion {
		return fmt.Errorf("%w: its schema is %d, this one knows up to %d: upgrade postern",
			ErrNewer, version, schemaVersion)
	}
	if version == 0 && !fresh {
		return ErrNotALog
	}
	return nil
}

// step runs schema/n.sql and notes that it ran, both or neither.
func (s *store) step(n int64) error {
	text, err := fs.ReadFile(schemaFiles, fmt.Sprintf("schema/%d.sql", n))
	if err != nil {
		return err
	}
	script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s;\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;\nCOMMIT;",
		text, applicationID, n)
	if _, err := s.conn.Exec(script, nil); err != nil {
		s.conn.Exec("ROLLBACK", nil) // the first error is the one that tells
		return err
	}
	return nil
}

// foreign turns SQLite's complaint about a file that is no database into ErrNotALog.
func foreign(err error) error {
	if e, ok := errors.AsType[sqlite3.Error](err); ok && e.Code == sqlite3.ErrNotADB {
		return ErrNotALog
	}
	return err
}
