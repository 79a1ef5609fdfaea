package audit

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postern/proxy"
)

// culprit is a log that somebody changes with plain SQL. What the tests below do to its tables they do to every
// table there is, so that one added later is covered, too.
type culprit struct {
	t    *testing.T
	good string
	path string
	db   *sql.DB
}

// newCulprit copies the log at path.
func newCulprit(t *testing.T, good string) *culprit {
	t.Helper()
	c := &culprit{t: t, good: good, path: filepath.Join(t.TempDir(), "audit.db")}
	c.reset()
	return c
}

// reset undoes everything.
func (c *culprit) reset() {
	c.t.Helper()
	c.close()
	copyFile(c.t, c.good, c.path)
	var err error
	if c.db, err = sql.Open("sqlite3", dsn(c.path, "")+"?_journal_mode=off&_synchronous=off"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *culprit) close() {
	if c.db != nil {
		c.db.Close()
	}
}

func (c *culprit) do(query string, args ...any) {
	c.t.Helper()
	if _, err := c.db.Exec(query, args...); err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
}

// all returns the first column of the answer.
func (c *culprit) all(query string, args ...any) (values []string) {
	c.t.Helper()
	rows, err := c.db.Query(query, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			c.t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

func (c *culprit) tables() []string {
	return c.all("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
}

func (c *culprit) columns(table string) []string {
	return c.all("SELECT name FROM pragma_table_info(?) ORDER BY cid", table)
}

func (c *culprit) keys(table string) []string {
	return c.all("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", table)
}

// row is one row of a table, as conditions and as verify names it.
type row struct {
	table, where, name string
	seq                int64 // its first key, if that is a number
}

// rows returns some rows of a table: the first, one of its middle and the last of those that filter chooses.
func (c *culprit) rows(table, filter string) (found []row) {
	c.t.Helper()
	var where, name []string
	for _, k := range c.keys(table) {
		where = append(where, "'"+k+" = ' || quote("+k+")")
		name = append(name, "'"+k+" ' || "+k)
	}
	from := " FROM " + table + " WHERE " + filter + " ORDER BY " + strings.Join(c.keys(table), ", ")
	wheres := c.all("SELECT " + strings.Join(where, " || ' AND ' || ") + from)
	names := c.all("SELECT " + strings.Join(name, " || ' ' || ") + from)
	if len(names) == 0 {
		return nil
	}
	for _, i := range slices.Compact([]int{0, len(names) / 2, len(names) - 1}) {
		r := row{table: table, where: wheres[i], name: names[i]}
		words := strings.Fields(names[i])
		r.seq, _ = strconv.ParseInt(words[1], 10, 64)
		if strings.HasPrefix(table, "session") { // people know sessions by their names
			words[1] = proxy.SessionID(r.seq).String()
			r.name = strings.Join(words, " ")
		}
		found = append(found, r)
	}
	return found
}

// named tells whether f is about the row. A deleted record's hash has nothing beside it that tells of it: the checkpoints
// around it do, and where it is missing a record is.
func (r *row) named(f Finding) bool {
	if f.Table == r.table && f.Key == r.name {
		return true
	}
	var first, last int64
	if n, _ := fmt.Sscanf(f.Key, "seq %d to %d", &first, &last); n == 1 {
		last = first
	}
	return r.table == "pruned" && (f.Table == "pruned" || f.Table == "records") && first <= r.seq && r.seq <= last
}

// wantNamed verifies, and wants the first finding to be about the row. When its key was changed the row is missing, and
// another is there that was not.
func (c *culprit) wantNamed(doing, column string, r row) {
	c.t.Helper()
	v := verdict(c.t, VerifyOptions{Path: c.path, Full: true})
	switch {
	case v.OK || len(v.Findings) == 0:
		c.t.Errorf("%s of %s %s: not seen", doing, r.table, r.name)
	case r.named(v.Findings[0]):
	case slices.Contains(c.keys(r.table), column) && (v.Findings[0].Table == r.table || r.table == "pruned"):
	default:
		c.t.Errorf("%s of %s %s is told as %s", doing, r.table, r.name, v.Findings[0])
	}
}

// changes are what a value is changed to, one after the other; those that are no change, or are refused by the
// table, are passed over.
var changes = []struct{ name, as string }{
	{"another", "CASE typeof(%[1]s) WHEN 'integer' THEN %[1]s + 1 WHEN 'text' THEN %[1]s || 'x' WHEN 'blob' THEN CAST(%[1]s || x'01' AS BLOB) END"},
	{"less", "CASE typeof(%[1]s) WHEN 'integer' THEN %[1]s - 1 WHEN 'text' THEN substr(%[1]s, 2) WHEN 'blob' THEN substr(%[1]s, 2) || x'ff' END"},
	{"nothing", "CASE typeof(%[1]s) WHEN 'integer' THEN 0 WHEN 'text' THEN '' ELSE NULL END"},
	{"something", "CASE WHEN %[1]s IS NULL THEN x'01020304' ELSE NULL END"},
	{"a text", "CASE WHEN %[1]s IS NULL THEN '{}' ELSE NULL END"},
	{"the bits of base64 that say nothing", "CASE WHEN %[1]s LIKE '%%=' || char(10) THEN " +
		"substr(%[1]s, 1, length(%[1]s) - 3) || char(unicode(substr(%[1]s, -3, 1)) + 1) || '=' || char(10) END"},
	{"far away", "CASE typeof(%[1]s) WHEN 'integer' THEN %[1]s + 1000000 END"},
}

func TestEveryValueIsCovered(t *testing.T) {
	c := newCulprit(t, newStoried(t).path)
	defer c.close()
	tried := map[string]int{}
	for _, table := range c.tables() {
		for _, column := range c.columns(table) {
			isSet := "(" + column + " IS NOT NULL AND " + column + " NOT IN (0, ''))"
			rest := c.rows(table, "NOT "+isSet)
			for _, r := range append(c.rows(table, isSet), rest[:min(1, len(rest))]...) {
				tried[table+"."+column] += c.change(r, column)
			}
		}
	}
	for _, table := range c.tables() {
		for _, column := range c.columns(table) {
			if tried[table+"."+column] < 2 {
				t.Errorf("%s.%s was changed %d times", table, column, tried[table+"."+column])
			}
		}
	}
}

// change tries all changes of one value, and returns how many were some.
func (c *culprit) change(r row, column string) (made int) {
	for _, change := range changes {
		as := fmt.Sprintf(change.as, column)
		result, err := c.db.Exec("UPDATE " + r.table + " SET " + column + " = " + as + " WHERE " + r.where + " AND " + column + " IS NOT " + as)
		if err != nil {
			continue // the table refuses it: another row's number, or no such type
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			continue
		}
		made++
		c.wantNamed(change.name+" in "+column, column, r)
		c.reset()
	}
	return made
}

func TestEveryRowIsMissed(t *testing.T) {
	c := newCulprit(t, newStoried(t).path)
	defer c.close()
	for _, table := range c.tables() {
		for _, r := range c.rows(table, "true") {
			c.do("DELETE FROM " + table + " WHERE " + r.where)
			c.wantMissed(r)
			c.reset()
		}
	}
}

// wantMissed wants the first finding to be about the row that was deleted, or the one behind it.
func (c *culprit) wantMissed(r row) {
	c.t.Helper()
	v := verdict(c.t, VerifyOptions{Path: c.path, Full: true})
	if v.OK || len(v.Findings) == 0 {
		c.t.Errorf("%s %s is not missed", r.table, r.name)
		return
	}
	f := v.Findings[0]
	switch {
	case r.named(f) && f.What == wasRemoved:
	case r.table == "records" && f.Table == "records" && f.Key == r.name && f.What == wasRolled: // the last one
	case r.table == "checkpoints" && f.Table == "checkpoints" && f.What == wasRemoved: // told with the next one
	default:
		c.t.Errorf("that %s %s is missing is told as %s", r.table, r.name, f)
	}
}

// TestEveryInsertedRowIsSeen copies rows to numbers that are free.
func TestEveryInsertedRowIsSeen(t *testing.T) {
	c := newCulprit(t, newStoried(t).path)
	defer c.close()
	for _, table := range c.tables() {
		columns, key := c.columns(table), c.keys(table)
		for _, r := range c.rows(table, "true") {
			for _, as := range []string{"%s + 100000", "-%s - 1", "%s || 'x'"} {
				values := slices.Clone(columns)
				k := key[len(key)-1]
				values[slices.Index(values, k)] = fmt.Sprintf(as, k)
				query := "INSERT INTO " + table + "(" + strings.Join(columns, ", ") + ") SELECT " + strings.Join(values, ", ") + " FROM " + table
				if _, err := c.db.Exec(query + " WHERE " + r.where); err != nil {
					continue // of another type
				}
				if v := verdict(t, VerifyOptions{Path: c.path, Full: true}); v.OK || !slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Table == table }) {
					t.Errorf("a row like %s %s is not seen: %v", table, r.name, v.Findings)
				}
				c.reset()
			}
		}
	}
}

// TestSwappedRowsAreSeen swaps the keys of two rows, and so all else of them.
func TestSwappedRowsAreSeen(t *testing.T) {
	c := newCulprit(t, newStoried(t).path)
	defer c.close()
	for _, table := range c.tables() {
		rows, key := c.rows(table, "true"), c.keys(table)
		if len(rows) < 2 || len(key) == len(c.columns(table)) {
			continue // the rows are nothing but keys
		}
		a, b := rows[0], rows[1]
		for _, column := range c.columns(table) {
			if slices.Contains(key, column) {
				continue
			}
			c.do("CREATE TEMP TABLE other AS SELECT " + column + " AS v FROM " + table + " WHERE " + a.where)
			c.do("UPDATE " + table + " SET " + column + " = (SELECT " + column + " FROM " + table + " WHERE " + b.where + ") WHERE " + a.where)
			c.do("UPDATE " + table + " SET " + column + " = (SELECT v FROM temp.other) WHERE " + b.where)
			c.do("DROP TABLE temp.other")
		}
		v := verdict(t, VerifyOptions{Path: c.path, Full: true})
		if v.OK || !a.named(v.Findings[0]) && !b.named(v.Findings[0]) {
			t.Errorf("%s %s and %s are swapped: %v", table, a.name, b.name, v.Findings)
		}
		if table == "records" && v.Findings[0].What != wasReordered {
			t.Errorf("swapped records are told as %s", v.Findings[0])
		}
		c.reset()
	}
}
