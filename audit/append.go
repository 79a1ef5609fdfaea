package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"postern/proxy"
)

// Append records one event of no session in a log that no Log has open, and signs it. It is on stable storage when Append
// returns. There is no start and no stop around it: nothing else is recorded meanwhile.
//
// It makes neither a database nor a key, so that a copy which lies apart from its key stays as it is.
func Append(ctx context.Context, o Options, ev proxy.Event) error {
	o.Key = cmp.Or(o.Key, KeyPath(o.Path))
	for _, path := range []string{o.Path, o.Key} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("it takes the log and its key, which lies beside no copy: %w", err)
		}
	}
	lock, err := takeLock(o.Path)
	if err != nil {
		return err
	}
	return errors.Join(withRemedy(appendOne(ctx, o, ev), o.Path), lock.Close())
}

func appendOne(ctx context.Context, o Options, ev proxy.Event) error {
	l, w, err := assemble(o)
	if err != nil {
		return err
	}
	close(l.closing) // the commit signs at once what it writes
	if err := l.resume(ctx, w); err != nil {
		return errors.Join(err, l.reader.Close(), w.close())
	}
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	err = w.commit([]proxy.Event{ev}, nil)
	if err != nil {
		err = fmt.Errorf("audit log: %w", err)
	}
	err = errors.Join(err, l.reader.Close()) // first, or it would hold the WAL
	if w.store != nil {
		_, _ = w.store.value("PRAGMA wal_checkpoint(TRUNCATE)") // so that a copy of the database alone is whole, if nobody reads
	}
	return errors.Join(err, w.close())
}
