package audit

import (
	"database/sql/driver"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// selectSchema reads the definitions of all that is in a database but the tables of statistics that SQLite keeps for itself.
const selectSchema = "SELECT type || ' ' || name, ifnull(sql, '') || ' of ' || tbl_name FROM sqlite_schema WHERE type <> 'table' OR name NOT GLOB 'sqlite_stat[0-9]'"

// pristine returns the definitions in a database that was made a moment ago.
var pristine = sync.OnceValues(func() (map[string]string, error) {
	conn, err := (&sqlite3.SQLiteDriver{}).Open(":memory:")
	if err != nil {
		return nil, err
	}
	l := &lens{conn: conn.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}
	defer l.close()
	for n := 1; n <= schemaVersion; n++ {
		text, err := fs.ReadFile(schemaFiles, fmt.Sprintf("schema/%d.sql", n))
		if err != nil {
			return nil, err
		}
		if _, err := l.conn.Exec(string(text), nil); err != nil {
			return nil, err
		}
	}
	return l.schema()
})

func (l *lens) schema() (map[string]string, error) {
	all := map[string]string{}
	var row [2]driver.Value
	err := l.each(selectSchema, row[:], func() error {
		name, _ := row[0].(string)
		all[name], _ = row[1].(string)
		return nil
	})
	return all, err
}

// checkSchema finds tables, indices, triggers and views that are not as this version makes them.
func (v *verifier) checkSchema() error {
	want, err := pristine()
	if err != nil {
		return err
	}
	have, err := v.lens.schema()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		text := want[name]
		switch got, ok := have[name]; {
		case !ok:
			v.findings.add(Finding{Table: "sqlite_schema", Key: name, What: wasRemoved})
		case got != text:
			v.findings.add(Finding{Table: "sqlite_schema", Key: name, What: wasAltered})
		}
		delete(have, name)
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		v.findings.add(Finding{Table: "sqlite_schema", Key: name, What: wasInserted})
	}
	return nil
}

// checkPages has SQLite look at the database's own structure, and whether each index has what its table has: a row that an
// index leaves out is there, and not found. It takes one long transaction, and so is left out while the log is being written.
func (v *verifier) checkPages() error {
	if isLocked(v.opts.Path) {
		v.note("the pages and indices of the database were not checked: the log is being written; a backup can be checked whole")
		return nil
	}
	var row [1]driver.Value
	return v.lens.each("PRAGMA integrity_check(10)", row[:], func() error {
		if text, _ := row[0].(string); text != "ok" {
			v.findings.add(Finding{Table: "database", What: wasAltered, Detail: strings.TrimSpace(text)})
		}
		return nil
	})
}
