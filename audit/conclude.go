package audit

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
)

// conclude checks what can only be told in the end, all but the sessions as of one moment.
func (v *verifier) conclude(ctx context.Context) error {
	v.roots.unsettled()
	if err := v.sums.finish(); err != nil {
		return err
	}
	if v.opts.Full {
		has, err := v.sums.hasStrays(v.last)
		if has && err == nil { // or the log has grown since
			err = v.sums.strays(ctx)
		}
		if err != nil {
			return err
		}
	}
	err := v.lens.within(func() error {
		for _, check := range []func() error{v.checkBlocks, v.checkOutside, v.checkHoles, v.checkTail, v.checkMeta, v.checkCover, v.checkHolds} {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, v.checkKeyFile(ctx))
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
			n >= (SELECT ifnull(max(seq), 0) FROM records) >> (8 * level) LIMIT 100`},
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
	key, err := v.keyInForce()
	if err != nil {
		return err
	}
	indexed, err := v.checkIndexed()
	if err != nil {
		return err
	}
	want := map[string]string{metaOrigin: v.origin, metaKey: key, metaIndexed: indexed}
	if v.last == 0 && key == "" { // it has not begun since, either
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
	return err
}

// keyInForce returns the key that the records say the log is signed with by now.
func (v *verifier) keyInForce() (string, error) {
	const query = "SELECT arg FROM records WHERE seq > ? AND kind IN ('start', 'key') ORDER BY seq DESC LIMIT 1"
	row, err := v.lens.one(query, 1, v.last)
	if err != nil || row == nil {
		return v.keys.current, err
	}
	key, _ := row[0].(string)
	return key, nil
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

// checkKeyFile compares the key in force with the one that lies beside the log, if it can be read. A rotation puts its key in
// the file of the next one, then on record, then in its place: while the records name one key, it lies in one of the two files
// if the next one's is read first.
func (v *verifier) checkKeyFile(ctx context.Context) error {
	path := KeyPath(v.opts.Path)
	for {
		key, err := v.keyInForce()
		if err != nil || v.last == 0 {
			return err
		}
		next, nextErr := readKey(nextKey(path))
		k, err := readKey(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			return nil
		case err != nil:
			v.note("%v", err)
			return nil
		case k.verifier == key, nextErr == nil && next.verifier == key:
			return nil
		}
		now, err := v.keyInForce()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if now == key {
			v.findings.add(Finding{Table: "meta", Key: "name " + metaKey, What: wasBroken, at: v.keys.since,
				Detail: "the log says that it is signed with " + key + ", and the key in " + path + " is another one"})
			return nil
		}
	}
}
