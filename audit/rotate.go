package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"

	"postern/proxy"
)

// Rotated tells of a change of the key that signs.
type Rotated struct {
	Old  string `json:"old"`    // verifier keys
	New  string `json:"new"`    //
	Seq  int64  `json:"record"` // of the record that tells of it
	Lost bool   `json:"lost"`   // the old key did not vouch for the new one

	// Left says why the new key, which is in force, is not in its place yet; the next start puts it there. "" if it is.
	Left string `json:"left,omitzero"`
}

// rotation is a change of keys that is under way. The next key lies in a file of its own until the record is on disk that
// puts it in force: that one decides, whatever happens in between (finishRotation).
type rotation struct {
	path   string // of the key
	old    *key   // nil: it was lost
	next   *key
	record proxy.Event
	seq    int64
}

// newRotation makes the key that follows old, and the event that tells of it.
func newRotation(path string, old *key, by string) (*rotation, error) {
	next, err := old.successor()
	if err != nil {
		return nil, err
	}
	r := &rotation{path: path, old: old, next: next}
	r.record = proxy.Event{Time: time.Now(), Kind: proxy.KindKey, Arg: next.verifier, User: by}
	if r.record.Text, err = old.vouch(next.verifier); err != nil {
		return nil, err
	}
	return r, next.write(nextKey(path))
}

// enact puts the next key in force, in a transaction of the writer's.
func (r *rotation) enact(w *writer) error {
	if err := w.append(&r.record); err != nil {
		return err
	}
	r.seq = w.seq
	return w.sealer.rotate(w.store, r.old, r.next, w.began)
}

// rotate makes the checkpoint that both keys sign: who knows the old one finds there what it last signed, and in the tree
// the record of the new one. From then on that signs alone. If the transaction fails the log is opened anew, with
// the key that is in force then.
func (s *sealer) rotate(store *store, old, next *key, now time.Time) error {
	c := Checkpoint{Size: s.tree.size, Root: s.tree.root()}
	signers := []note.Signer{next.signer}
	if old != nil {
		signers = []note.Signer{old.signer, next.signer}
	}
	signed, err := note.Sign(&note.Note{Text: c.text(next.signer.Name())}, signers...)
	if err != nil {
		return err
	}
	c.Note = string(signed)
	s.key, s.newest, s.signedAt = next, c, now
	return store.insertCheckpoint(&c)
}

// done tells of a rotation that is on disk, and puts the key in its place.
func (r *rotation) done() Rotated {
	told := Rotated{New: r.next.verifier, Seq: r.seq, Lost: r.old == nil}
	if r.old != nil {
		told.Old = r.old.verifier
	}
	err := finishRotation(r.path, r.next.verifier)
	if err == nil {
		var k *key
		if k, err = readKey(r.path); err == nil && k.verifier != r.next.verifier {
			err = fmt.Errorf("%s is another key", r.path)
		}
	}
	if err != nil {
		told.Left = err.Error()
	}
	return told
}

// isStale tells whether r cannot be done any more: the log has another key than the one that r follows, or the next key is
// gone. While a log is failing, what an earlier rotation left is put in order.
func (r *rotation) isStale(w *writer) bool {
	next, err := readKey(nextKey(r.path))
	return err != nil || next.verifier != r.next.verifier || w.sealer.key.verifier != r.old.verifier
}

// RotateKey has the log sign with a new key from now on, for whoever asks.
func (l *Log) RotateKey(ctx context.Context, by string) (Rotated, error) {
	l.rotating.Lock()
	defer l.rotating.Unlock()
	// While the log is failing nobody knows whether the rotation before is on disk: its key stays where it lies until then.
	l.mu.Lock()
	failing := l.reason
	l.mu.Unlock()
	if failing != "" {
		return Rotated{}, fmt.Errorf("rotate the log's key: %w: %s", proxy.ErrNotRecorded, failing)
	}
	old, err := l.keyInForce(ctx)
	if err != nil {
		return Rotated{}, fmt.Errorf("rotate the log's key: %w", err)
	}
	r, err := newRotation(l.opts.Key, old, by)
	if err != nil {
		return Rotated{}, fmt.Errorf("make the log's next key: %w", err)
	}
	if err := l.perform(ctx, &chore{do: r.enact, stale: r.isStale}); err != nil {
		return Rotated{}, fmt.Errorf("rotate the log's key: %w", err) // what became of the next key is decided when the log is opened
	}
	return r.done(), nil
}

// keyInForce reads the key again, after it has finished what an earlier rotation left.
func (l *Log) keyInForce(ctx context.Context) (*key, error) {
	origin, err := meta(ctx, l.reader.db, metaOrigin)
	if err != nil {
		return nil, err
	}
	verifier, err := meta(ctx, l.reader.db, metaKey)
	if err != nil {
		return nil, err
	}
	return openKey(l.opts.Key, origin, verifier)
}

// reopenKey takes up the key that is in force, after a commit of which nobody knows whether it is on disk.
func (w *writer) reopenKey(ctx context.Context) error {
	verifier, err := meta(ctx, w.log.reader.db, metaKey)
	if err != nil {
		return err
	}
	if verifier == w.sealer.key.verifier {
		next, err := readKey(nextKey(w.log.opts.Key))
		if err == nil && next.verifier == verifier {
			_ = next.replace(w.log.opts.Key) // if it cannot be now, the next start does it
		}
		return nil
	}
	k, err := w.log.keyInForce(ctx)
	if err == nil {
		w.sealer.key = k
	}
	return err
}

// RotateKey changes the key of a log that no Log has open.
func RotateKey(ctx context.Context, o Options, by string) (Rotated, error) {
	return rotateAtRest(ctx, o, func(l *Log, w *writer) (*rotation, error) {
		if err := l.resume(ctx, w); err != nil {
			return nil, err
		}
		return newRotation(l.opts.Key, w.sealer.key, by)
	})
}

// ReplaceLostKey makes a new key for a log that no Log has open and whose key is lost. Nothing vouches for the new one, and the
// log says so. With the old key the names that retention gives to users are lost: the same user has another one from now on.
func ReplaceLostKey(ctx context.Context, o Options, by string) (Rotated, error) {
	return rotateAtRest(ctx, o, func(l *Log, w *writer) (*rotation, error) {
		if err := l.isLost(ctx); err != nil {
			return nil, err
		}
		return l.resumeWithout(ctx, w, by)
	})
}

// isLost returns nil if the key is not there.
func (l *Log) isLost(ctx context.Context) error {
	if _, err := l.keyInForce(ctx); err == nil {
		return fmt.Errorf("the key is not lost, it is %s: rotate it without --lost", l.opts.Key)
	}
	if _, err := os.Lstat(l.opts.Key); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there, and cannot be used as the key of this log: mend that, or move it away first", l.opts.Key)
	}
	verifier, err := meta(ctx, l.reader.db, metaKey)
	if err == nil && verifier == "" {
		err = errors.New("this log has had no key yet: postern serve makes one")
	}
	return err
}

// resumeWithout lets w go on where the database ends, with a new key.
func (l *Log) resumeWithout(ctx context.Context, w *writer, by string) (*rotation, error) {
	origin, err := meta(ctx, l.reader.db, metaOrigin)
	if err != nil {
		return nil, err
	}
	next, err := newKey(origin)
	if err != nil {
		return nil, err
	}
	if w.seq, err = w.store.lastSeq(); err != nil {
		return nil, err
	}
	if err := errors.Join(w.index.load(w.store), w.sealer.load(ctx, l.reader, w.seq)); err != nil {
		return nil, err
	}
	w.sealer.key, w.sealer.encoder = next, newEncoder(next.pseudonym)
	r := &rotation{path: l.opts.Key, next: next}
	r.record = proxy.Event{Time: time.Now(), Kind: proxy.KindKey, Arg: next.verifier, Detail: lostKey, User: by}
	return r, next.write(nextKey(l.opts.Key))
}

// rotateAtRest does what begin has prepared, in a log that no Log has open.
func rotateAtRest(ctx context.Context, o Options, begin func(*Log, *writer) (*rotation, error)) (told Rotated, err error) {
	if _, err := os.Stat(o.Path); err != nil {
		return told, fmt.Errorf("audit log: %w", err)
	}
	o.Key = cmp.Or(o.Key, KeyPath(o.Path))
	lock, err := takeLock(o.Path)
	if err != nil {
		return told, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	l, w, err := assemble(o)
	if err != nil {
		return told, err
	}
	r, err := begin(l, w)
	if err == nil {
		err = w.transact(r.enact)
	}
	if err = errors.Join(err, l.reader.Close(), w.close()); err != nil {
		return told, fmt.Errorf("rotate the log's key: %w", err)
	}
	return r.done(), nil
}
