package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// copyOctets are copied, and brought to the disk, at once: a commit that comes in between waits for no more.
	copyOctets = 4 << 20
	// copyPatience is how long a copy may stand still before it is given up.
	copyPatience = 10 * time.Second
)

// BackupOptions say what is copied where.
type BackupOptions struct {
	Path   string                           // the database, which may be written meanwhile
	Dest   string                           // the copy; it must not exist
	Report func(verifying bool, p Progress) // told from time to time: octets, then records; nil is never
}

func (o *BackupOptions) report(verifying bool, p Progress) {
	if o.Report != nil {
		o.Report(verifying, p)
	}
}

// Copy is a copy of a log that was found to be good.
type Copy struct {
	Path    string
	Octets  int64
	Newest  Checkpoint // of its checkpoints
	Verdict *Verdict
}

// Backup copies the log as it is now, and holds the whole copy against itself before it has its name. Who writes the log is not
// delayed; the WAL grows by what is written meanwhile. When it fails nothing is left behind.
func Backup(ctx context.Context, o BackupOptions) (c *Copy, err error) {
	if _, err := os.Lstat(o.Dest); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, fmt.Errorf("%w: %s; a backup replaces nothing, name a file that is not there", fs.ErrExist, o.Dest))
	}
	r, err := OpenReader(o.Path) // it refuses what is no log of this schema
	if err != nil {
		return nil, err
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	partial := o.Dest + ".partial"
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: another backup writes it, or one was killed: then remove it", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make the copy: %w%s", err, missing(err))
	}
	c, err = o.fill(ctx, f)
	if err == nil {
		err = o.name(c)
	}
	if err != nil {
		return nil, errors.Join(err, removeDatabase(partial))
	}
	return c, nil
}

// fill makes a good copy in f, which is on disk then.
func (o *BackupOptions) fill(ctx context.Context, f *os.File) (*Copy, error) {
	err := f.Chmod(0o600)
	if err == nil {
		err = o.copyPages(ctx, f)
	}
	if err = errors.Join(err, f.Close()); err != nil { // closed last: it would take SQLite's locks with it
		return nil, fmt.Errorf("copy %s: %w%s", o.Path, err, room(err, o.Dest))
	}
	return verifyCopy(ctx, f.Name(), func(p Progress) { o.report(true, p) })
}

// name gives the copy the name that it is to have.
func (o *BackupOptions) name(c *Copy) error {
	if _, err := os.Lstat(o.Dest); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s came into being meanwhile: %w", o.Dest, fs.ErrExist))
	}
	if err := os.Rename(c.Path, o.Dest); err != nil {
		return fmt.Errorf("name the copy: %w", err)
	}
	c.Path = o.Dest
	return syncDir(o.Dest)
}

// missing tells what to do when err is about a directory that is not there.
func missing(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return ": make its directory, or mount its disk"
	}
	return ""
}

// room says where there is too little of it, if that is what err tells.
func room(err error, path string) string {
	if isFull(err) {
		return ": free space on the disk of " + filepath.Dir(path)
	}
	return ""
}

// copyPages copies the database page by page, as it is when the copying begins, into f.
func (o *BackupOptions) copyPages(ctx context.Context, f *os.File) error {
	from, err := openConn(o.Path, lensMode(o.Path))
	if err != nil {
		return err
	}
	to, err := openConn(f.Name(), "mode=rw")
	if err != nil {
		return errors.Join(err, from.Close())
	}
	err = o.copyBetween(ctx, from, to, f)
	return errors.Join(err, to.Close(), from.Close())
}

func openConn(path, query string) (*sqlite3.SQLiteConn, error) {
	conn, err := (&sqlite3.SQLiteDriver{}).Open(dsn(path, query))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, foreign(err))
	}
	return conn.(*sqlite3.SQLiteConn), nil
}

func (o *BackupOptions) copyBetween(ctx context.Context, from, to *sqlite3.SQLiteConn, f *os.File) error {
	// A half copy is removed, and a whole one synced here: SQLite need not see to either.
	if _, err := to.Exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", nil); err != nil {
		return err
	}
	// The transaction holds the database as it is. Without one each commit would make the copy begin anew.
	if _, err := from.Exec("BEGIN; SELECT count(*) FROM sqlite_schema", nil); err != nil {
		return err
	}
	size, err := pageSize(from)
	if err != nil {
		return err
	}
	b, err := to.Backup("main", from, "main")
	if err != nil {
		return err
	}
	if err := o.step(ctx, b, size, f); err != nil {
		return errors.Join(err, ignoreSame(err, b.Finish()))
	}
	if err := b.Finish(); err != nil {
		return err
	}
	return f.Sync()
}

// ignoreSame leaves out what finish says if it only repeats what step said.
func ignoreSame(step, finish error) error {
	if finish == nil || step.Error() == finish.Error() {
		return nil
	}
	return finish
}

func (o *BackupOptions) step(ctx context.Context, b *sqlite3.SQLiteBackup, pageSize int64, f *os.File) error {
	left, moved := -1, time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := b.Step(int(copyOctets / pageSize))
		if err != nil {
			return err
		}
		pages := b.PageCount()
		o.report(false, Progress{Done: int64(pages-b.Remaining()) * pageSize, Of: int64(pages) * pageSize})
		if done {
			return nil
		}
		if err := f.Sync(); err != nil {
			return err
		}
		switch now := b.Remaining(); {
		case now != left:
			left, moved = now, time.Now()
		case time.Since(moved) > copyPatience:
			return errors.New("another program keeps the database locked: end it")
		default:
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func pageSize(conn *sqlite3.SQLiteConn) (int64, error) {
	rows, err := conn.Query("PRAGMA page_size", nil)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return 0, err
	}
	n, _ := row[0].(int64)
	if n <= 0 {
		return 0, fmt.Errorf("page size %v", row[0])
	}
	return n, nil
}

// verifyCopy holds the copy at path against itself: every page, record, session and checkpoint.
func verifyCopy(ctx context.Context, path string, report func(Progress)) (*Copy, error) {
	v, err := Verify(ctx, VerifyOptions{Path: path, Full: true, Workers: 1, Report: report})
	if err != nil {
		return nil, err
	}
	if !v.OK {
		return nil, fmt.Errorf("%w: %s: postern verify --full tells more", ErrAltered, v.Findings[0])
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	r, err := OpenReader(path)
	if err != nil {
		return nil, err
	}
	newest, err := newestCheckpoint(ctx, r.db)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"-wal", "-shm"} { // what readers left beside it
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return &Copy{Path: path, Octets: info.Size(), Newest: newest, Verdict: v}, nil
}

// removeDatabase removes a database that is no good, and what SQLite left beside it.
func removeDatabase(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
