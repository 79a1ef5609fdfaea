package audit

import (
	"context"
	"iter"
	"time"
)

const (
	// tailBatch bounds the records Tail yields at once.
	tailBatch = 500
	// tailWindow bounds how many numbers one read of Tail walks, so that a filter that chooses little
	// keeps no transaction open for long.
	tailWindow = 10_000
	// tailPoll is how often a Tail outside the writing process looks whether the log has grown.
	tailPoll = 100 * time.Millisecond
	// tailPace is the least time from one read to the next of a Tail that has caught up: a thousand commits
	// a second are not worth a thousand reads for each who watches.
	tailPace = 25 * time.Millisecond
)

// Tail yields batches of the records after the given number that f chooses, oldest first, and when it
// has caught up waits for the log to grow. A batch holds 1 to 500 records, never none: a filter that skips
// everything yields nothing. Whoever resumes from the Seq of the last record seen loses none and sees
// none twice. It ends without an error when ctx does, and after an error.
func (r *Reader) Tail(ctx context.Context, after int64, f Filter) iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) {
		for ctx.Err() == nil {
			grown := r.watch() // before the read, or what is committed in between is slept through
			again := time.Now().Add(tailPace)
			batch, next, more, err := r.page(ctx, after, f)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, r.wrap("tail records", err))
				return
			}
			if len(batch) > 0 && !yield(batch, nil) {
				return
			}
			if after = next; !more {
				wait(ctx, grown)
				sleep(ctx, time.Until(again))
			}
		}
	}
}

// page reads the next batch after the given number, and tells up to which number it has looked and whether
// there was more.
func (r *Reader) page(ctx context.Context, after int64, f Filter) (b []Record, next int64, more bool, err error) {
	// The end comes first: records committed after it was read belong to the next page.
	end, err := selectLastSeq(ctx, r.db)
	if err != nil || end <= after {
		return nil, after, false, err
	}
	first, err := selectNextSeq(ctx, r.db, after) // what retention has deleted is not walked
	if err != nil {
		return nil, after, false, err
	}
	next = min(end, max(after, first-1)+tailWindow)
	b, err = selectRecords(ctx, r.db, after, next, tailBatch, f)
	if err != nil {
		return nil, after, false, err
	}
	if len(b) == tailBatch {
		next = b[tailBatch-1].Seq
	}
	return b, next, next < end, nil
}

// watch returns the channel that tells of growth, nil if there is none to be had in this process.
func (r *Reader) watch() <-chan struct{} {
	if r.grown == nil {
		return nil
	}
	return r.grown()
}

// wait returns when the log has grown or is worth another look, or ctx ends.
func wait(ctx context.Context, grown <-chan struct{}) {
	if grown == nil {
		sleep(ctx, tailPoll)
		return
	}
	select {
	case <-ctx.Done():
	case <-grown:
	}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
