package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
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
	newest   head      // the last one that is good
	time     time.Time // of the last record
	back     int64     // how often time went back
	kind     proxy.Kind
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
	if v.last, err = v.reader.LastSeq(ctx); err != nil {
		return err
	}
	if err := v.checkSchema(); err != nil {
		return err
	}
	if v.origin, err = meta(ctx, v.reader.db, metaOrigin); err != nil {
		return err
	}
	if err := v.learnOrigin(); err != nil {
		return err
	}
	if err := v.recall(); err != nil {
		return err
	}
	if err := v.readAnchors(); err != nil {
		return err
	}
	v.roots = roots{found: &v.findings, first: v.from / blockSize, good: v.from}
	edge, err := loadTree(ctx, v.reader.db, v.from)
	if errors.Is(err, ErrNoHash) {
		v.findings.add(Finding{Table: "blocks", What: wasRemoved, Detail: err.Error(), at: 1})
		v.since, v.from, v.roots.first, v.roots.good = 0, 0, 0, 0
		return nil
	}
	v.roots.summed = tree{size: v.from / blockSize, edge: edge.edge}
	return err
}

// learnOrigin holds the log's name against the one that its first key has, which is in a leaf.
func (v *verifier) learnOrigin() error {
	row, err := v.lens.one("SELECT arg FROM records WHERE kind = 'start' AND arg <> '' ORDER BY seq LIMIT 1", 1)
	if err != nil || row == nil {
		return err
	}
	first, _ := row[0].(string)
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
func (v *verifier) recall() (err error) {
	path := VerifiedPath(v.opts.Path)
	v.known, err = readVerified(path)
	switch {
	case errors.Is(err, errVerified) && v.opts.Full:
		v.note("%s: %v", path, err)
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
	v.keys.first, v.keys.all, v.keys.current, v.keys.since = v.known.FirstKey, v.known.Keys, v.known.key(), size
	return nil
}

// walk looks at all records. Workers read and hash stretches of the log, this goroutine takes them in order.
func (v *verifier) walk(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work, err := newSurvey(v.opts.Path, v.opts.Workers, &v.outside)
	if err != nil {
		return err
	}
	v.keys.start(v.opts.Workers)
	work.team.Go(func() { work.plan(ctx, v.from+1, v.last) })
	swept := v.sweep(ctx)
	err = v.take(ctx, work)
	if err != nil {
		cancel()
	}
	err = errors.Join(err, swept())
	cancel()
	err = errors.Join(err, work.wait())
	v.keys.wait()
	return err
}

// sweep begins to look, beside the walk, for rows that no record leads to. What it returns waits for that.
func (v *verifier) sweep(ctx context.Context) (wait func() error) {
	if !v.opts.Full {
		return func() error { return nil }
	}
	var found findings
	var indexed int64
	done := make(chan error, 1)
	go func() {
		l, err := openLens(v.opts.Path)
		if err != nil {
			done <- err
			return
		}
		s := sums{found: &found, lens: l}
		err = errors.Join(s.orphans(ctx), s.strays(ctx))
		indexed = s.indexed
		done <- errors.Join(err, l.close())
	}()
	return func() error {
		err := <-done
		for _, f := range found.all {
			v.findings.add(f)
		}
		v.sums.indexed = indexed
		return err
	}
}

func (v *verifier) take(ctx context.Context, work *survey) error {
	for s := range work.order {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.err != nil {
			return s.err
		}
		if err := v.digest(s); err != nil {
			return err
		}
		v.tell(s.last)
		work.free <- s
	}
	return ctx.Err()
}

// digest takes up what was found in one stretch, in the order of the log.
func (v *verifier) digest(s *stretch) error {
	for _, f := range s.findings {
		v.findings.add(f)
	}
	v.cover.add(s)
	v.roots.pruned = append(v.roots.pruned, s.deleted...)
	records, heads := s.records, s.heads
	for i := range s.blocks {
		b := &s.blocks[i]
		end := (b.n + 1) * blockSize
		for added := false; ; heads = heads[1:] {
			if !added && (len(heads) == 0 || heads[0].size >= end) {
				v.roots.add(b)
				added = true
			}
			if len(heads) == 0 || heads[0].size > end {
				break
			}
			n, err := v.follow(records, heads[0].size)
			if err != nil {
				return err
			}
			records = records[n:]
			v.hold(&heads[0])
		}
	}
	_, err := v.follow(records, s.last)
	return err
}

// follow takes up the records with numbers up to last, and returns how many they are.
func (v *verifier) follow(records []Record, last int64) (n int, err error) {
	for n < len(records) && records[n].Seq <= last {
		r := &records[n]
		n++
		if r.Time.Before(v.time) {
			v.back++
		}
		v.time, v.kind = r.Time, r.Kind
		switch r.Kind {
		case proxy.KindStart, proxy.KindKey:
			if r.Seq > v.since {
				v.keys.follow(r)
			}
			if v.sums.sealed == 0 && r.Arg != "" {
				v.sums.sealed = r.Seq
			}
		case proxy.KindRetention:
			v.cover.rule(r)
		case proxy.KindHold:
			v.followHold(r.Seq, r.Verb, r.Count)
		}
		if err := v.sums.apply(r); err != nil {
			return n, err
		}
	}
	v.verdict.Records += int64(n)
	return n, nil
}

// hold compares a signed head of the tree, from the table or from elsewhere, with the records.
func (v *verifier) hold(h *head) {
	if h.anchor != nil {
		v.holdAnchor(h)
		return
	}
	c, err := parseCheckpoint(h.note, v.origin)
	if err == nil && c.Size != h.size {
		err = fmt.Errorf("the note is about %d records", c.Size)
	}
	signers := v.keys.signers(h.size)
	if v.prior.n != 0 && h.n != v.prior.n+1 || v.prior.n == 0 && v.from == 0 && h.n != 1 {
		v.holes = append(v.holes, hole{v.prior.n, h.n, v.prior.size, h.size})
		v.holes = v.holes[max(0, len(v.holes)-maxFindings):] // older ones retention may have made
	}
	v.prior = *h
	v.verdict.Checkpoints++
	if err != nil {
		v.findings.add(unsigned(h.size, err))
		return
	}
	fresh := h.size > v.since
	if h.known {
		v.roots.compare(h.size, &h.part, c.Root, func() bool { return !fresh || signedBy(h.note, signers) == nil })
	}
	if fresh {
		v.keys.jobs <- signedNote{h.size, h.note, signers}
	}
	v.newest = *h
}

// conclude checks what can only be told in the end, all but the sessions as of one moment.
func (v *verifier) conclude(ctx context.Context) error {
	v.roots.unsettled()
	if err := v.sums.finish(); err != nil {
		return err
	}
	return v.lens.within(func() error {
		for _, check := range []func() error{v.checkBlocks, v.checkOutside, v.checkHoles, v.checkTail, v.checkMeta, v.checkCover, v.checkHolds} {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkBlocks looks at the rows of blocks that are not one of a stretch.
func (v *verifier) checkBlocks() error {
	stored := map[int]map[int64]hash{}
	var row [3]driver.Value
	err := v.lens.each("SELECT level, n, hash FROM blocks WHERE level > 1", row[:], func() error {
		level, _ := row[0].(int64)
		n, _ := row[1].(int64)
		if b, _ := row[2].([]byte); len(b) == len(hash{}) {
			if stored[int(level)] == nil {
				stored[int(level)] = map[int64]hash{}
			}
			stored[int(level)][n] = hash(b)
		}
		return nil
	})
	v.roots.above(stored)
	return err
}

// checkOutside finds rows that are about no record.
func (v *verifier) checkOutside() error {
	for _, look := range []struct{ table, query string }{
		{"records", "SELECT 'seq ' || seq, 0 FROM records WHERE seq < 1 LIMIT 100"},
		{"pruned", "SELECT 'seq ' || seq, seq FROM pruned WHERE seq < 1 OR seq > (SELECT ifnull(max(seq), 0) FROM records) LIMIT 100"},
		{"checkpoints", "SELECT 'size ' || size, size FROM checkpoints WHERE size < 1 LIMIT 100"},
		{"blocks", `SELECT 'level ' || level || ' n ' || n, n FROM blocks WHERE level NOT BETWEEN 1 AND 7 OR n < 0 OR
			(n + 1) << (8 * level) > (SELECT ifnull(max(seq), 0) FROM records) LIMIT 100`},
	} {
		var row [2]driver.Value
		err := v.lens.each(look.query, row[:], func() error {
			key, _ := row[0].(string)
			at, _ := row[1].(int64)
			f := Finding{Table: look.table, Key: key, What: wasInserted, Detail: "it is about no record", at: max(at, 0)}
			if !v.findings.has(f) {
				v.findings.add(f)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return v.checkCut()
}

// checkCut looks at checkpoints about more records than there are.
func (v *verifier) checkCut() error {
	const query = "SELECT size, note, (SELECT ifnull(max(seq), 0) FROM records) FROM checkpoints WHERE size > (SELECT ifnull(max(seq), 0) FROM records) ORDER BY size LIMIT 100"
	var row [3]driver.Value
	cut := Finding{Table: "records", What: wasRolled}
	err := v.lens.each(query, row[:], func() error {
		size, _ := row[0].(int64)
		text, _ := row[1].(string)
		last, _ := row[2].(int64)
		if c, err := parseCheckpoint(text, v.origin); err == nil && c.Size == size && v.signedByOurs(text) {
			cut.Key, cut.at = seqKey(last+1, size), last+1
			cut.Detail = "there is a checkpoint of them: the end of the log was cut off"
			return nil
		}
		v.findings.add(Finding{Table: "checkpoints", Key: sizeKey(size), What: wasInserted, Detail: "it is about no record", at: size})
		return nil
	})
	if cut.Key != "" {
		v.findings.add(cut)
	}
	return err
}

// hole is where numbers of checkpoints are missing.
type hole struct{ after, before, size, next int64 }

// checkHoles finds checkpoints that are missing and that retention did not make superfluous: it leaves the newest alone.
func (v *verifier) checkHoles() error {
	newest, err := v.lens.number("SELECT ifnull((SELECT n FROM checkpoints ORDER BY size DESC LIMIT 1), 0)")
	if err != nil {
		return err
	}
	for _, h := range v.holes {
		if h.before > newest-newestCheckpoints || h.before <= h.after {
			v.findings.add(Finding{Table: "checkpoints", Key: sizeKey(h.next), What: wasRemoved,
				Detail: fmt.Sprintf("before it: it is number %d, behind number %d", h.before, h.after), at: h.size + 1})
		}
	}
	return nil
}

// followHold takes up a change of the legal holds.
func (v *verifier) followHold(seq int64, verb string, count int64) {
	if v.holds == nil {
		v.holds = map[int64]bool{}
	}
	v.holds[seq] = verb == HoldAdd
	if verb == HoldRelease {
		v.holds[count] = false
	}
}

// checkHolds compares the holds in force with the records of them. Of those before the part of the log that was looked at
// it only knows which were released.
func (v *verifier) checkHolds() error {
	var row [3]driver.Value
	err := v.lens.each("SELECT seq, verb, count FROM records WHERE seq > ? AND kind = 'hold' ORDER BY seq", row[:], func() error {
		seq, _ := row[0].(int64)
		verb, _ := row[1].(string)
		count, _ := row[2].(int64)
		v.followHold(seq, verb, count)
		return nil
	}, v.last)
	if err != nil {
		return err
	}
	err = v.lens.each("SELECT record FROM holds", row[:1], func() error {
		seq, _ := row[0].(int64)
		if inForce, known := v.holds[seq]; !inForce && (known || seq > v.from || seq < 1) {
			v.findings.add(Finding{Table: "holds", Key: "record " + fmt.Sprint(seq), What: wasInserted, at: max(seq, 0)})
		}
		delete(v.holds, seq)
		return nil
	})
	for seq, inForce := range v.holds {
		if inForce {
			v.findings.add(Finding{Table: "holds", Key: "record " + fmt.Sprint(seq), What: wasRemoved, at: seq})
		}
	}
	return err
}

// checkTail looks at the records that no checkpoint vouches for: they can only be the last of a run that has not ended.
func (v *verifier) checkTail() error {
	v.verdict.Unsigned = v.last - v.newest.size
	f := Finding{Table: "checkpoints", Key: sizeKey(v.last), What: wasRemoved, at: v.newest.size + 1}
	switch {
	case v.verdict.Unsigned == 0:
		return nil
	case v.verdict.Unsigned >= signRecords:
		f.Detail = fmt.Sprintf("%d records are not signed", v.verdict.Unsigned)
		v.findings.add(f)
		return nil
	}
	const query = `SELECT seq, kind FROM records WHERE seq >= ? AND seq <= ? AND
		(kind = 'start' AND seq > ?1 OR kind = 'stop') ORDER BY seq LIMIT 1`
	row, err := v.lens.one(query, 2, max(v.newest.size, 1), v.last)
	if err != nil || row == nil {
		return err
	}
	if row[0] == v.newest.size {
		v.findings.add(Finding{Table: "records", Key: seqKey(v.newest.size+1, v.last), What: wasInserted,
			Detail: "behind the end of the log, and not signed", at: v.newest.size + 1})
		return nil
	}
	f.Detail = fmt.Sprintf("it was signed with record %v, a %v", row[0], row[1])
	v.findings.add(f)
	return nil
}

// checkMeta compares what is kept of the log as a whole with what its records say.
func (v *verifier) checkMeta() error {
	const newest = "SELECT arg FROM records WHERE seq > ? AND kind IN ('start', 'key') ORDER BY seq DESC LIMIT 1"
	key := v.keys.current
	row, err := v.lens.one(newest, 1, v.last)
	if err != nil {
		return err
	}
	if row != nil {
		key, _ = row[0].(string)
	}
	indexed, err := v.checkIndexed()
	if err != nil {
		return err
	}
	want := map[string]string{metaOrigin: v.origin, metaKey: key, metaIndexed: indexed}
	if v.last == 0 {
		delete(want, metaKey)
	}
	var pair [2]driver.Value
	err = v.lens.each("SELECT name, value FROM meta", pair[:], func() error {
		name, _ := pair[0].(string)
		f := Finding{Table: "meta", Key: "name " + name}
		switch value, known := want[name]; {
		case !known && name != metaOrigin:
			f.What = wasInserted
		case known && pair[1] != value && !v.findings.has(f):
			f.What, f.Detail = wasAltered, "the records say "+value
		}
		if name == metaIndexed {
			f.at = behindAll
		}
		if delete(want, name); f.What != "" {
			v.findings.add(f)
		}
		return nil
	})
	for name := range want {
		v.findings.add(Finding{Table: "meta", Key: "name " + name, What: wasRemoved})
	}
	if !v.keys.isTrusted() && v.last > 0 {
		v.findings.add(Finding{Table: "meta", Key: "name " + metaKey, What: wasBroken, at: 1, Detail: "no key that was given vouches for " +
			key + ", which the log is signed with; it was begun with " + v.keys.first})
	}
	return errors.Join(err, v.checkKeyFile(key))
}

// checkIndexed returns what the row is to say up to which record the index of sessions is complete: what it says, if that can
// be. Up to there each record was looked for in the index.
func (v *verifier) checkIndexed() (string, error) {
	const query = "SELECT (SELECT value FROM meta WHERE name = 'indexed'), (SELECT ifnull(max(seq), 0) FROM records)"
	row, err := v.lens.one(query, 2)
	if err != nil || row == nil {
		return "", err
	}
	says, _ := row[0].(string)
	most, _ := row[1].(int64)
	least := v.sums.indexed
	if n, err := strconv.ParseInt(says, 10, 64); err != nil || n < least || n > most || strconv.FormatInt(n, 10) != says {
		return fmt.Sprintf("at least %d, at most %d", least, most), nil
	}
	return says, nil
}

// checkKeyFile compares the key in force with the one that lies beside the log, if it can be read.
func (v *verifier) checkKeyFile(key string) error {
	path := KeyPath(v.opts.Path)
	k, err := readKey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil
	case err != nil:
		v.note("%v", err)
		return nil
	}
	if next, err := readKey(nextKey(path)); err == nil && next.verifier == key {
		return nil // a rotation that is being finished
	}
	if k.verifier != key && v.last > 0 {
		v.findings.add(Finding{Table: "meta", Key: "name " + metaKey, What: wasBroken, at: v.keys.since,
			Detail: "the log says that it is signed with " + key + ", and the key in " + path + " is another one"})
	}
	return nil
}

func (v *verifier) note(format string, args ...any) {
	v.verdict.Notes = append(v.verdict.Notes, fmt.Sprintf(format, args...))
}

// tell reports how far the walk is, not too often.
func (v *verifier) tell(seq int64) {
	if v.opts.Report != nil && (time.Since(v.told) > 100*time.Millisecond || seq == v.last) {
		v.told = time.Now()
		v.opts.Report(Progress{Done: seq - v.from, Of: v.last - v.from})
	}
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
	if v.back > 0 {
		v.note("the clock was set back, or records waited for the disk: %d records are older than the one before", v.back)
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
	path := VerifiedPath(v.opts.Path)
	if err := left.write(path); err != nil {
		v.note("the verified checkpoint was not kept, so the next verification begins where this one did: %v", err)
	}
	return nil
}
