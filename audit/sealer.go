package audit

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"postern/proxy"
)

// sealer makes the log provable: it gives each record its place in the tree and signs the tree's heads. It is the
// writer's, and like it ahead of the table by the batch being written.
type sealer struct {
	key      *key
	encoder  *encoder
	tree     tree
	newest   Checkpoint
	signedAt time.Time // when the newest was made
	entropy  entropy
}

// entropy makes random seeds, many at a time.
type entropy struct {
	pool [256 * saltSize]byte
	left []byte
}

func (e *entropy) next() *seed {
	if len(e.left) == 0 {
		rand.Read(e.pool[:]) // never fails (crypto/rand)
		e.left = e.pool[:]
	}
	s := (*seed)(e.left)
	e.left = e.left[saltSize:]
	return s
}

// openSealer opens or makes the log's key, and seals what an older version wrote.
func (l *Log) openSealer(ctx context.Context, w *writer) error {
	origin, err := meta(ctx, l.reader.db, metaOrigin)
	if err != nil {
		return err
	}
	verifier, err := meta(ctx, l.reader.db, metaKey)
	if err != nil {
		return err
	}
	if w.sealer.key, err = openKey(l.opts.Key, origin, verifier); err != nil {
		return err
	}
	w.sealer.encoder = newEncoder(w.sealer.key.pseudonym)
	l.pseudonym = w.sealer.key.pseudonym
	if w.store.backup != "" {
		l.log.Info("audit log is being migrated", "path", l.opts.Path, "schema", schemaVersion, "copy_of_before", w.store.backup)
	}
	if err := w.sealer.sealOld(ctx, l, w.store, w.seq); err != nil {
		return fmt.Errorf("seal the records of an older postern: %w", err)
	}
	return w.sealer.load(ctx, l.reader, w.seq)
}

// load takes up the tree as it is in the database. It does not go on with a log whose newest checkpoint is
// not about this tree: what it would sign could never be squared with what was signed before.
func (s *sealer) load(ctx context.Context, r *Reader, size int64) (err error) {
	if s.tree, err = loadTree(ctx, r.db, size); err != nil {
		return altered(err)
	}
	last, err := newestCheckpoint(ctx, r.db)
	if err != nil {
		return altered(err)
	}
	s.newest = last
	if last.Size == 0 {
		return nil
	}
	if last.Size > size {
		return fmt.Errorf("%w: its newest checkpoint vouches for %d records and it has %d: %s", ErrAltered, last.Size, size, alteredRemedy)
	}
	then, err := loadTree(ctx, r.db, last.Size)
	if err != nil {
		return altered(err)
	}
	if then.root() != last.Root {
		return fmt.Errorf("%w: its newest checkpoint, of record %d, is not about these records: %s", ErrAltered, last.Size, alteredRemedy)
	}
	return nil
}

const alteredRemedy = "postern verify tells more; move it away, keep it as evidence, and restore a backup or begin a new log"

// altered tells apart a tree that is not whole from a database that cannot be read.
func altered(err error) error {
	if errors.Is(err, ErrNoHash) || errors.Is(err, errCheckpoint) {
		return fmt.Errorf("%w: %w: %s", ErrAltered, err, alteredRemedy)
	}
	return err
}

// insert writes r as the next leaf of the tree.
func (s *sealer) insert(store *store, r *Record) error {
	leaf, err := store.insert(r, s.encoder, s.entropy.next())
	if err != nil {
		return err
	}
	if r.Kind == proxy.KindStart || r.Kind == proxy.KindKey {
		if err := store.note(metaKey, r.Arg); err != nil {
			return err
		}
	}
	return s.tree.append(leaf, store.insertBlock)
}

// sign makes a checkpoint if one is due, or at once.
func (s *sealer) sign(store *store, now time.Time, atOnce bool) error {
	unsigned := s.tree.size - s.newest.Size
	if unsigned == 0 || !atOnce && unsigned < signRecords && now.Sub(s.signedAt) < signEvery {
		return nil
	}
	c, err := s.key.sign(&s.tree)
	if err != nil {
		return err
	}
	s.newest, s.signedAt = c, now
	return store.insertCheckpoint(&c)
}

// nextDue returns when the next checkpoint is to be signed.
func (s *sealer) nextDue() (at time.Time, ok bool) {
	return s.signedAt.Add(signEvery), s.tree.size > s.newest.Size
}

// sealBatch bounds the records that sealOld seals in one transaction. It is a multiple of blockSize: what a crash
// leaves behind ends with a block.
const sealBatch = 16 * blockSize

// sealOld makes leaves of the records that were written by a version that knew of none, up to the one with number last.
func (s *sealer) sealOld(ctx context.Context, l *Log, store *store, last int64) error {
	sealed, err := isSealed(ctx, l.reader.db, last)
	if err != nil || sealed {
		return err
	}
	if s.tree, err = sealedBlocks(ctx, l.reader.db); err != nil {
		return err
	}
	told := time.Now()
	for s.tree.size < last {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.sealSome(store); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			l.log.Info("sealing the records of an older version", "sealed", s.tree.size, "of", last)
			told = time.Now()
		}
	}
	l.log.Info("sealed the records of an older version", "records", last)
	return nil
}

func (s *sealer) sealSome(store *store) error {
	rows, err := store.rows("SELECT "+recordColumns+" FROM records WHERE seq > ? ORDER BY seq LIMIT ?",
		recordFields, s.tree.size, int64(sealBatch))
	if err != nil {
		return err
	}
	if err := store.exec(store.begin); err != nil {
		return err
	}
	if err := s.sealRows(store, rows); err != nil {
		return errors.Join(err, store.rollback())
	}
	return store.exec(store.commit)
}

func (s *sealer) sealRows(store *store, rows [][]driver.Value) error {
	for _, row := range rows {
		if row[placeSeq] != s.tree.size+1 {
			return fmt.Errorf("%w: record %d is missing: %s", ErrAltered, s.tree.size+1, alteredRemedy)
		}
		s.encoder.seal(row, s.entropy.next())
		args := append(s.encoder.appendSeal(nil), row[placeSeq])
		if _, err := store.conn.Exec("UPDATE records SET seed = ?, hash = ? WHERE seq = ?", args); err != nil {
			return err
		}
		if err := s.tree.append(s.encoder.sum, store.insertBlock); err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return fmt.Errorf("%w: record %d is missing: %s", ErrAltered, s.tree.size+1, alteredRemedy)
	}
	return nil
}

// isSealed tells whether the record with number last has its leaf, and so all before it.
func isSealed(ctx context.Context, q queryer, last int64) (sealed bool, err error) {
	if last == 0 {
		return true, nil
	}
	err = q.QueryRowContext(ctx, "SELECT hash IS NOT NULL FROM records WHERE seq = ?", last).Scan(&sealed)
	return sealed, err
}

// sealedBlocks returns the tree as far as whole blocks of it are there.
func sealedBlocks(ctx context.Context, q queryer) (tree, error) {
	var blocks int64
	err := q.QueryRowContext(ctx, "SELECT count(*) FROM blocks WHERE level = 1").Scan(&blocks)
	if err != nil {
		return tree{}, err
	}
	return loadTree(ctx, q, blocks*blockSize)
}
