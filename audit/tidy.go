package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What a run does after the rules: it forgets hashes whose root is enough and checkpoints beyond count, and gives space back.

const (
	// blocksAtOnce bounds the blocks that are compacted in one transaction.
	blocksAtOnce = 16
	// prunedAtOnce bounds the hashes that are looked at in one transaction: whole blocks.
	prunedAtOnce = 256 * blockSize
	// sparePages are left free in the file, for what comes next.
	sparePages = 256
)

// compact forgets the hashes of deleted records where a whole block is gone and its root is kept. Blocks that the newest
// checkpoint does not vouch for stay: whoever opens the log makes its root from their hashes.
func (p *reaper) compact(ctx context.Context) error {
	var signed int64
	if err := p.log.reader.db.QueryRowContext(ctx, "SELECT ifnull(max(size), 0) FROM checkpoints").Scan(&signed); err != nil {
		return err
	}
	last := signed / blockSize * blockSize
	for begin := int64(0); ; begin += prunedAtOnce {
		first, err := firstPruned(ctx, p.log.reader.db, begin, last)
		if err != nil || first == 0 {
			return err
		}
		begin = (first - 1) / blockSize * blockSize
		full, err := fullBlocks(ctx, p.log.reader.db, begin, min(last, begin+prunedAtOnce))
		if err != nil {
			return err
		}
		for blocks := range slices.Chunk(full, blocksAtOnce) {
			if err := p.perform(ctx, &chore{do: func(w *writer) error { return w.store.forget(blocks) }}); err != nil {
				return err
			}
		}
	}
}

// firstPruned returns the first deleted record after one number and up to another of which the hash is kept, 0 if there is
// none.
func firstPruned(ctx context.Context, q queryer, after, last int64) (seq int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT ifnull(min(seq), 0) FROM pruned WHERE seq > ? AND seq <= ?", after, last).Scan(&seq)
	return seq, err
}

// fullBlocks returns the blocks after one number and up to another of which only hashes are left.
func fullBlocks(ctx context.Context, q queryer, after, last int64) ([]int64, error) {
	rows, err := q.QueryContext(ctx, `SELECT (seq - 1) / 256 AS block FROM pruned WHERE seq > ? AND seq <= ?
		GROUP BY block HAVING count(*) = 256 AND block IN (SELECT n FROM blocks WHERE level = 1)`, after, last)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(n *int64) error { return rows.Scan(n) })
}

// forget deletes the hashes of whole blocks.
func (s *store) forget(blocks []int64) error {
	for _, n := range blocks {
		if _, err := s.change("DELETE FROM pruned WHERE seq BETWEEN ? AND ?", n*blockSize+1, (n+1)*blockSize); err != nil {
			return err
		}
	}
	return nil
}

const (
	// newestCheckpoints is how many of the newest checkpoints are all kept: at one a second, those of three hours.
	newestCheckpoints = 10_000
	// checkpointSpan is of how many records, beyond those, one checkpoint is kept: the newest, and the newest of those that
	// a witness has cosigned.
	checkpointSpan = 4096
	// checkpointsAtOnce bounds the checkpoints that are deleted in one transaction.
	checkpointsAtOnce = 500
)

// thinCheckpoints deletes the checkpoints that others make superfluous.
func (p *reaper) thinCheckpoints(ctx context.Context) error {
	var border int64
	const query = "SELECT ifnull((SELECT size FROM checkpoints ORDER BY size DESC LIMIT 1 OFFSET ?), 0)"
	if err := p.log.reader.db.QueryRowContext(ctx, query, newestCheckpoints).Scan(&border); err != nil {
		return err
	}
	var crowd crowd
	for after, more := int64(0), true; more; {
		found, err := selectCheckpoints(ctx, p.log.reader.db, after, border)
		if err != nil {
			return err
		}
		var gone []int64
		for _, c := range found {
			gone = append(gone, crowd.add(c)...)
			after = c.size
		}
		if len(gone) > 0 {
			if err := p.perform(ctx, &chore{do: func(w *writer) error { return w.store.dropCheckpoints(gone) }}); err != nil {
				return err
			}
		}
		more = len(found) == checkpointsAtOnce
	}
	return nil
}

// sign is a checkpoint as thinCheckpoints sees it.
type sign struct {
	size     int64
	cosigned bool
}

func selectCheckpoints(ctx context.Context, q queryer, after, last int64) ([]sign, error) {
	const query = "SELECT size, note FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size LIMIT ?"
	rows, err := q.QueryContext(ctx, query, after, last, checkpointsAtOnce)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(s *sign) error {
		var text string
		err := rows.Scan(&s.size, &text)
		s.cosigned = strings.Count(text, "\n— ") > 1
		return err
	})
}

// crowd tells which checkpoints others make superfluous, when it sees them in their order.
type crowd struct{ newest, cosigned sign }

// add returns the sizes of those that s makes superfluous.
func (c *crowd) add(s sign) (gone []int64) {
	if (c.newest.size-1)/checkpointSpan != (s.size-1)/checkpointSpan {
		*c = crowd{}
	}
	if was := c.newest; was.size > 0 && was != c.cosigned {
		gone = append(gone, was.size)
	}
	if was := c.cosigned; was.size > 0 && s.cosigned {
		gone = append(gone, was.size)
	}
	if c.newest = s; s.cosigned {
		c.cosigned = s
	}
	return gone
}

func (s *store) dropCheckpoints(sizes []int64) error {
	for _, size := range sizes {
		if _, err := s.change("DELETE FROM checkpoints WHERE size = ?", size); err != nil {
			return err
		}
	}
	return nil
}

// giveBack makes the file smaller by what is free in it, some pages at a time.
func (p *reaper) giveBack(ctx context.Context) error {
	pages := dose{size: 64, least: 16, most: 1024}
	for free := int64(-1); ; {
		was := free
		if err := p.log.reader.db.QueryRowContext(ctx, "SELECT freelist_count FROM pragma_freelist_count").Scan(&free); err != nil {
			return err
		}
		if free <= sparePages || free == was { // the latter in a database that was made before there was a way to
			return p.perform(ctx, &chore{alone: (*writer).emptyWAL})
		}
		c := &chore{do: func(w *writer) error { return w.store.shrink(min(pages.size, free-sparePages)) }}
		if err := p.perform(ctx, c); err != nil {
			return err
		}
		pages.learn(c.took)
	}
}

// shrink moves what lies in the last pages of the file into free ones.
func (s *store) shrink(pages int64) error {
	_, err := s.rows(fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages), 0) // SQLite frees one with each row
	return err
}

// emptyWAL has the database take in what only the WAL has: then its file has the size that it ought to. A reader may be in
// the way; it is not waited for.
func (w *writer) emptyWAL() error {
	if _, err := w.store.conn.Exec("PRAGMA busy_timeout = 0", nil); err != nil {
		return err
	}
	_, err := w.store.value("PRAGMA wal_checkpoint(TRUNCATE)")
	_, back := w.store.conn.Exec("PRAGMA busy_timeout = 5000", nil)
	return errors.Join(err, back)
}
