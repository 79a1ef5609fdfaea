package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"postern/proxy"
)

// VerifyOptions say what is verified, and against what.
type VerifyOptions struct {
	Path    string         // the database; nothing is written to it
	Full    bool           // from the first record on, and the pages too; else from the last good verification on
	Keys    []string       // verifier keys, of which one must be the log's; one that follows a lost key must be among them
	Anchors []string       // files with checkpoints that were kept elsewhere, whatever else is in them
	Keep    bool           // leave the newest checkpoint in VerifiedPath for the next time if all is well
	Workers int            // default one for each processor
	Report  func(Progress) // called from time to time; nil is never
}

// Progress tells how far a verification is.
type Progress struct {
	Done, Of int64 // records
}

// Verify holds a log against itself, its signatures and what was kept elsewhere. The log may be written meanwhile:
// what is newer than the beginning is left for the next time. An error tells that it could not look; what it
// found, of which the first thing comes first, is in the Verdict.
func Verify(ctx context.Context, o VerifyOptions) (*Verdict, error) {
	if _, err := os.Stat(o.Path); err != nil {
		return nil, fmt.Errorf("no audit log at %s: %w", o.Path, err)
	}
	r, err := OpenReader(o.Path) // it refuses what is no log of this schema
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v := &verifier{opts: o, reader: r, began: time.Now(), verdict: &Verdict{Path: o.Path, Full: o.Full, Notes: []string{}}}
	if v.opts.Workers <= 0 {
		v.opts.Workers = runtime.GOMAXPROCS(0)
	}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("verify %s: %w", o.Path, err)
	}
	return v.verdict, nil
}

// verifier is one verification. The goroutine that called Verify owns it; the surveyors own what they read.
type verifier struct {
	opts     VerifyOptions
	began    time.Time
	verdict  *Verdict
	reader   *Reader
	lens     *lens
	since    int64     // up to where an earlier verification was, if this one goes on there
	from     int64     // the number before the first record that is looked at: a whole number of blocks
	last     int64     // the last one
	known    *verified // what an earlier verification left, nil if nothing
	origin   string
	findings findings
	keys     keychain
	roots    roots
	sums     sums
	cover    cover
	outside  anchors
	prior    head   // the checkpoint before the next
	holes    []hole // between checkpoints
	holds    map[int64]bool
	newest   head // the last one that is good
	clock    clock
	told     time.Time
}

func (v *verifier) run(ctx context.Context) (err error) {
	if v.lens, err = openLens(v.opts.Path); err != nil {
		return err
	}
	defer v.lens.close()
	v.keys = keychain{found: &v.findings, trusted: v.opts.Keys}
	v.cover.found = &v.findings
	v.sums = sums{found: &v.findings, lens: v.lens, open: map[proxy.SessionID]*tally{}}
	for _, step := range []func(context.Context) error{v.begin, v.walk, v.conclude} {
		err := step(ctx)
		if err != nil && !v.isDeformed(ctx, err) {
			return err
		}
		if err != nil {
			break
		}
	}
	v.report()
	return v.keep()
}

// isDeformed tells whether err is no wonder, as the schema is not what it should be. That is told then, and the error is
// a note to it.
func (v *verifier) isDeformed(ctx context.Context, err error) bool {
	deformed := slices.ContainsFunc(v.findings.all, func(f Finding) bool { return f.Table == "sqlite_schema" })
	if deformed && ctx.Err() == nil {
		v.note("not all could be looked at: %v", err)
		return true
	}
	return false
}

// begin decides what is looked at.
func (v *verifier) begin(ctx context.Context) (err error) {
	if err := v.checkSchema(); err != nil {
		return err
	}
	if err := v.checkMigrated(); err != nil { // first, or the log might end before its first checkpoint
		return err
	}
	if v.last, err = v.reader.LastSeq(ctx); err != nil {
		return err
	}
	if err := v.bound(); err != nil {
		return err
	}
	if v.origin, err = meta(ctx, v.reader.db, metaOrigin); err != nil {
		return err
	}
	if err := v.learnOrigin(); err != nil {
		return err
	}
	if err := v.recall(ctx); err != nil {
		return err
	}
	if err := v.readAnchors(ctx); err != nil {
		return err
	}
	v.roots = roots{found: &v.findings, first: v.from / blockSize, good: v.from}
	edge, err := loadTree(ctx, v.reader.db, v.from)
	if errors.Is(err, ErrNoHash) {
		v.findings.add(Finding{Table: "blocks", What: wasRemoved, Detail: err.Error(), at: 1})
		v.since, v.from, v.roots.first, v.roots.good = 0, 0, 0, 0
		return nil
	}
	if err != nil {
		return err
	}
	v.roots.summed = tree{size: v.from / blockSize, edge: edge.edge}
	if v.from > 0 && v.from == v.since {
		if err := v.resume(); err != nil {
			return err
		}
	}
	return v.holdEarlier()
}

// resume takes up the checkpoint of the last good verification, if it is still there. When that ends a block, the walk does
// not come by it: there may be no newer one yet.
func (v *verifier) resume() error {
	row, err := v.lens.one("SELECT n FROM checkpoints WHERE size = ?", 1, v.since)
	if err != nil || row == nil {
		return err
	}
	n, _ := row[0].(int64)
	v.newest = head{size: v.since, n: n, note: v.known.Checkpoint}
	v.prior = v.newest
	return nil
}

var errMigrating = errors.New("its records come from an older postern, and not all have their hashes yet, or none was signed: start postern serve once, it goes on with that")

// checkMigrated refuses a log whose migration was cut off, or is under way: nothing was signed yet. The first key comes with a
// start, after the last record has its hash.
func (v *verifier) checkMigrated() error {
	const query = "SELECT 1 FROM records WHERE seq = (SELECT max(seq) FROM records) AND NOT EXISTS(SELECT 1 FROM checkpoints) AND " +
		"NOT EXISTS(SELECT 1 FROM meta WHERE name = '" + metaKey + "') AND " +
		"(hash IS NULL OR NOT EXISTS(SELECT 1 FROM records WHERE kind = 'start' AND arg <> ''))"
	row, err := v.lens.one(query, 1)
	if err == nil && row != nil {
		err = errMigrating
	}
	return err
}

// maxHole bounds the blocks that may be missing of a log that is looked at: 16 million records.
const maxHole = 1 << 16

// bound keeps a record with a number far behind all others from making verification endless: to each block that was ever there
// belongs a root.
func (v *verifier) bound() error {
	blocks, err := v.lens.number("SELECT count(*) FROM blocks WHERE level = 1 AND n BETWEEN 0 AND ? - 1", v.last/blockSize)
	if err != nil || v.last/blockSize-blocks <= maxHole {
		return err
	}
	const query = "SELECT min(seq), (SELECT ifnull(max(seq), 0) FROM records WHERE seq <= ?1) FROM records WHERE seq > ?1"
	row, err := v.lens.one(query, 2, (blocks+maxHole)*blockSize)
	if err != nil || row == nil {
		return err
	}
	far, _ := row[0].(int64)
	v.last, _ = row[1].(int64)
	v.findings.add(Finding{Table: "records", Key: seqKey(far, far), What: wasInserted, at: far,
		Detail: fmt.Sprintf("the one before it is %d, and what is behind it was not looked at", v.last)})
	return nil
}

// learnOrigin holds the log's name against the one that its first key has, which is in a leaf.
func (v *verifier) learnOrigin() error {
	row, err := v.lens.one("SELECT arg, seq FROM records WHERE kind = 'start' AND arg <> '' ORDER BY seq LIMIT 1", 2)
	if err != nil || row == nil {
		return err
	}
	first, _ := row[0].(string)
	v.sums.sealed, _ = row[1].(int64)
	name := nameOf(first)
	if name == "" || name == v.origin {
		return nil
	}
	f := Finding{Table: "meta", Key: "name " + metaOrigin, What: wasAltered, Detail: "the first key is that of " + name}
	if v.origin == "" {
		f.What = wasRemoved
	}
	v.findings.add(f)
	v.origin = name
	return nil
}

// recall takes up what the last good verification left.
func (v *verifier) recall(ctx context.Context) (err error) {
	path := VerifiedPath(v.opts.Path)
	v.known, err = readVerified(path)
	switch {
	case errors.Is(err, errVerified) && v.opts.Full:
		v.note("%s: %v", path, err)
		return nil
	case errors.Is(err, fs.ErrPermission):
		v.note("%v: so it begins with the first record, and what is newer there is not missed", err)
		return nil
	case errors.Is(err, errVerified):
		v.findings.add(Finding{Table: path, What: wasAltered, Detail: err.Error()})
		return nil
	case err != nil || v.known == nil:
		return err
	}
	size := v.known.parsed.Size
	v.outside.add(anchor{from: path, size: size, root: v.known.parsed.Root})
	if name := nameOf(v.known.key()); name != v.origin {
		v.findings.add(Finding{Table: path, What: wasAltered, Detail: "it is of another log, " + name})
		v.known = nil
		return nil
	}
	if v.opts.Full || size > v.last {
		return nil
	}
	v.since, v.from = size, size/blockSize*blockSize
	v.keys.first, v.keys.current, v.keys.since = v.known.FirstKey, v.known.key(), size
	v.keys.all, err = v.chain(ctx)
	return err
}

// chain returns the keys of which each vouches for the next, up to the one of the last good verification. The log's records of
// them prove that by themselves; the file beside the log could say anything.
func (v *verifier) chain(ctx context.Context) (keys []string, err error) {
	all, err := selectKeys(ctx, v.reader.db, v.known.parsed.Size)
	for i, k := range all {
		if i > 0 && !vouched(all[i-1].Key, k.Key, k.Signature) {
			keys = nil
		}
		keys = append(keys, k.Key)
	}
	if len(keys) == 0 || keys[len(keys)-1] != v.known.key() {
		keys = []string{v.known.key()}
	}
	return keys, err
}

func (v *verifier) note(format string, args ...any) {
	v.verdict.Notes = append(v.verdict.Notes, fmt.Sprintf(format, args...))
}

// report writes the verdict.
func (v *verifier) report() {
	d := v.verdict
	v.findings.trim()
	d.Findings, d.Count, d.OK = v.findings.all, v.findings.count, v.findings.count == 0
	if d.Findings == nil {
		d.Findings = []Finding{}
	}
	d.Origin, d.First, d.Last = v.origin, min(v.from+1, v.last), v.last
	d.Deleted, d.Thinned = v.cover.deleted.count, v.cover.thinned.count
	d.Sessions = v.sums.proven
	d.FirstKey, d.Key = v.keys.first, v.keys.current
	d.Fingerprint, _ = Fingerprint(d.Key) // "" when it is no key, which is a finding
	if n := v.clock.back; n > 0 {
		v.note("the clock was set back: %d times, the furthest by %v, at record %d", n, v.clock.furthest.Round(time.Second), v.clock.at)
	}
	if d.Duration = time.Since(v.began); d.Duration > 0 {
		d.Rate = float64(d.Last-v.from) / d.Duration.Seconds()
	}
}

// keep leaves the newest checkpoint for the next time.
func (v *verifier) keep() error {
	if !v.verdict.OK || !v.opts.Keep || v.newest.size == 0 {
		return nil
	}
	c, err := parseCheckpoint(v.newest.note, v.origin)
	if err != nil {
		return err
	}
	left := verified{Checkpoint: c.Note, FirstKey: v.keys.first, Keys: v.keys.all, Time: time.Now().UTC(), parsed: c}
	if err := left.write(v.opts.Path); err != nil {
		v.note("the verified checkpoint was not kept, so the next verification begins where this one did: %v", err)
	}
	return nil
}
