package audit

import (
	"context"
	"time"

	"postern/proxy"
)

// orphans returns what start-up has to record of the sessions that a crash left open: the fate of their
// deletes as far as it can be known, and their end.
func orphans(ctx context.Context, r *Reader) ([]proxy.Event, error) {
	var events []proxy.Event
	q := SessionQuery{Live: true, Limit: MaxSessions}
	for {
		list, err := r.Sessions(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			more, err := abort(ctx, r, s)
			if err != nil {
				return nil, err
			}
			events = append(events, more...)
		}
		if len(list) < q.Limit {
			return events, nil
		}
		q.Before = list[len(list)-1].ID
	}
}

// abort returns the events that end s, of which nothing more will be heard.
func abort(ctx context.Context, r *Reader, s Session) ([]proxy.Event, error) {
	last := s.Start
	if err := replay(ctx, r, s.ID, func(rec *Record) { last = rec.Time }); err != nil {
		return nil, err
	}
	return ending(r, proxy.Event{
		Session: s.ID, Time: time.Now(), Kind: proxy.KindEnd,
		Side: proxy.SideProxy, Detail: Aborted, Duration: max(0, last.Sub(s.Start)), // the clock may have been set back
	})
}

// ending returns the events that end a session of which records may be missing: the fate of each DELE
// that has none on record, then end.
func ending(r *Reader, end proxy.Event) ([]proxy.Event, error) {
	var d deletions
	if err := replay(context.Background(), r, end.Session, d.apply); err != nil {
		return nil, err
	}
	var events []proxy.Event
	for _, del := range d.rest() {
		events = append(events, proxy.Event{
			Session: end.Session, Time: end.Time, Kind: proxy.KindDelete,
			Message: del.message, UID: del.uid, Detail: del.fate,
		})
	}
	return append(events, end), nil
}
