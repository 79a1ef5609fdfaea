package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"postern/audit"
	"postern/proxy"
)

// look is how long one question of the dashboard's took.
type look struct {
	Size int64
	What string
	Cold bool // nothing of the database was in the system's memory
	Took time.Duration
}

// question is one that the dashboard asks.
type question struct {
	what string
	ask  func() error
}

// look asks what the dashboard asks, each question of what the system has in memory by then, or of nothing: then the
// database is in cold.
func (g *growth) look(ctx context.Context, r *audit.Reader, size int64, cold *os.File) error {
	questions, err := questionsTo(ctx, r)
	if err != nil {
		return err
	}
	for _, q := range questions {
		prepare := q.ask
		if cold != nil {
			prepare = func() error { return forget(cold) }
		}
		if err := prepare(); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
		began := time.Now()
		if err := q.ask(); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
		g.Looks = append(g.Looks, look{size, q.what, cold != nil, time.Since(began)})
	}
	return nil
}

// questionsTo makes them up about the newest session, and one of half a year before.
func questionsTo(ctx context.Context, r *audit.Reader) ([]question, error) {
	newest, err := r.Sessions(ctx, audit.SessionQuery{Limit: 1})
	if err != nil || len(newest) == 0 {
		return nil, errors.Join(err, errors.New("no session is in the log"))
	}
	today := newest[0].Start.Truncate(24 * time.Hour)
	old, err := r.Sessions(ctx, audit.SessionQuery{Limit: 1, Before: sessionAt(newest[0].Start.Add(-logYear / 2))})
	if err != nil {
		return nil, err
	}
	some := append(old, newest...)[0] // a small log may be too young
	addr := netip.PrefixFrom(some.Peer.Addr(), some.Peer.Addr().BitLen())
	return []question{
		{"the page as it opens: live sessions, totals of the day", func() error { _, err := r.Snapshot(ctx, today); return err }},
		{"100 newest sessions", func() error { return found(r.Sessions(ctx, audit.SessionQuery{})) }},
		{"100 newest sessions of a user", func() error { return found(r.Sessions(ctx, audit.SessionQuery{User: some.User})) }},
		{"100 newest sessions of an address", func() error { return found(r.Sessions(ctx, audit.SessionQuery{Addr: addr})) }},
		{"100 sessions of half a year before", func() error { return found(r.Sessions(ctx, audit.SessionQuery{Before: some.ID + 1})) }},
		{"transcript of one of them", func() error { return found(r.Transcript(ctx, some.ID, 0, 500)) }},
	}, nil
}

// found wants an answer that is not empty.
func found[T any](answer []T, err error) error {
	if err == nil && len(answer) == 0 {
		return errors.New("nothing was found")
	}
	return err
}

// sessionAt is a number that those of sessions from before t are below.
func sessionAt(t time.Time) proxy.SessionID {
	const epoch, random = 1_577_836_800_000, 22 // see proxy.NewSessionID
	return proxy.SessionID((t.UnixMilli() - epoch) << random)
}

// forget has the system forget what it has of a file in memory, as after a start of the machine. The file stays open:
// closing it would drop the locks that SQLite holds on it for the whole process (sqlite.org/howtocorrupt.html, 2.2).
func forget(f *os.File) error {
	const dontNeed = 4               // POSIX_FADV_DONTNEED
	if err := f.Sync(); err != nil { // what is not on disk cannot be forgotten
		return err
	}
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
		return fmt.Errorf("fadvise: %w", errno)
	}
	return nil
}
