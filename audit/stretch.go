package audit

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// stretchSize is how many records are read in one transaction: some milliseconds. It is a multiple of blockSize.
const stretchSize = 16 * blockSize

// stretch is what one look at a part of the log has found. Stretches are filled by several workers and then taken
// in their order.
type stretch struct {
	first, last int64 // numbers of records; first is that of a block's first record
	records     []Record
	gaps        []run // numbers of which there is no record
	deleted     []run // those of them whose hashes, or whose block's root, are kept
	thinned     []run
	blocks      []blockSum
	heads       []head // in order of their size
	findings    []Finding
	err         error

	done chan struct{} // closed when all of the above is written
}

// run is some record numbers in a row, both ends included.
type run struct{ first, last int64 }

// extend adds seq to the spans; numbers come in order.
func extend(spans []run, seq int64) []run {
	if n := len(spans); n > 0 && spans[n-1].last == seq-1 {
		spans[n-1].last = seq
		return spans
	}
	return append(spans, run{seq, seq})
}

// blockSum is the root of one block, once from its leaves and once as stored.
type blockSum struct {
	n        int64
	size     int64 // leaves, blockSize but in the last block
	gone     bool  // retention deleted all its records and their hashes
	known    bool  // the root can be had from the leaves
	doubtful bool  // there is a finding about one of its leaves
	computed hash
	isStored bool
	stored   hash
}

// head is a signed head of the tree, from the table of checkpoints or from elsewhere, and the root of the leaves that
// it covers in its last block.
type head struct {
	size   int64
	n      int64   // number of the checkpoint
	note   string  // the checkpoint
	anchor *anchor // where it is from instead
	known  bool    // whether part can be had
	part   hash    // of size % blockSize leaves
}

func (s *stretch) reset(first, last int64) {
	*s = stretch{first: first, last: last, records: s.records[:0], gaps: s.gaps[:0], deleted: s.deleted[:0],
		thinned: s.thinned[:0], blocks: s.blocks[:0], heads: s.heads[:0], done: make(chan struct{})}
}

func (s *stretch) find(at int64, table, key, what, detail string) {
	s.findings = append(s.findings, Finding{Table: table, Key: key, What: what, Detail: detail, at: at})
}

// surveyor fills stretches. One goroutine uses it, and it keeps its memory.
type surveyor struct {
	lens    *lens
	anchors *anchors // only read
	encoder encoder
	row     [recordFields + 2]driver.Value
	short   [3]driver.Value

	// Of the stretch at hand, by the place of a record in it.
	leaves [stretchSize]hash
	kinds  [stretchSize]leafKind
	bad    []badRow
}

// leafKind tells where a leaf's hash is from.
type leafKind uint8

const (
	leafMissing leafKind = iota
	leafRecord
	leafPruned
	leafSpoilt // there is a row, and no hash in it
)

// badRow is a record whose fields are not those that were hashed, or whose number is not.
type badRow struct {
	seq    int64
	values []driver.Value
}

// survey fills s, all in one transaction.
func (v *surveyor) survey(s *stretch) {
	clear(v.kinds[:])
	v.bad = v.bad[:0]
	s.err = v.lens.within(func() error {
		for _, read := range []func(*stretch) error{v.readRecords, v.readPruned, v.readBlocks, v.readCheckpoints, v.readPlaces} {
			if err := read(s); err != nil {
				return err
			}
		}
		return nil
	})
	if s.err == nil {
		v.judge(s)
		v.sum(s)
	}
	close(s.done)
}

var surveyRecords = "SELECT " + recordColumns + ", seed, hash FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq"

func (v *surveyor) readRecords(s *stretch) error {
	return v.lens.each(surveyRecords, v.row[:], func() error {
		seq := v.row[placeSeq].(int64) // the primary key is an integer, or SQLite would not find it
		if n := len(s.records); n < cap(s.records) {
			s.records = s.records[:n+1]
		} else {
			s.records = append(s.records, Record{})
		}
		if err := s.records[len(s.records)-1].fill(v.row[:]); err != nil {
			s.records = s.records[:len(s.records)-1]
			s.find(seq, "records", seqKey(seq, seq), wasAltered, err.Error())
		}
		v.hash(s, seq)
		return nil
	}, s.first, s.last)
}

// hash makes the leaf of the row at hand anew.
func (v *surveyor) hash(s *stretch, seq int64) {
	place := seq - s.first
	column, _ := v.row[recordFields].([]byte)
	stored, _ := v.row[recordFields+1].([]byte)
	leaf, err := v.encoder.leafOf(v.row[:recordFields], column)
	if misplaced := mistyped(v.row[:recordFields]); err == nil && misplaced >= 0 {
		err = fmt.Errorf("%s is of a type that it cannot be of", columnName(misplaced))
	}
	v.kinds[place], v.leaves[place] = leafRecord, leaf
	switch {
	case err == nil && len(stored) == len(leaf) && hash(stored) == leaf:
		if len(column) > 0 && len(column) != saltSize && len(column) != saltSize+pseudonymSize {
			s.thinned = extend(s.thinned, seq)
		}
	case err != nil && len(stored) == len(leaf):
		v.leaves[place] = hash(stored)
		s.find(seq, "records", seqKey(seq, seq), wasAltered, err.Error())
	default:
		if len(stored) == len(leaf) {
			v.leaves[place] = hash(stored) // if it was not the hash that was altered; the block's root tells
		}
		v.bad = append(v.bad, badRow{seq, append([]driver.Value{}, v.row[:]...)})
	}
}

// fieldTypes tell what a field's column holds: an integer, text, or octets.
var fieldTypes = func() (types [recordFields]byte) {
	r := Record{TLS: new(TLS), BackendTLS: new(TLS), Mail: new(Mail)}
	for place, v := range r.appendValues(nil) {
		switch v.(type) {
		case int64:
			types[place] = 'i'
		case string:
			types[place] = 't'
		default:
			types[place] = 'o'
		}
	}
	return types
}()

// mistyped returns the place of a field whose type is not its column's, -1 if there is none. The leaf does not tell a
// number that is no integer from none.
func mistyped(row []driver.Value) int {
	for place, v := range row {
		var is byte
		switch v.(type) {
		case int64:
			is = 'i'
		case string:
			is = 't'
		case []byte:
			is = 'o'
		case nil:
			if canBeNull(place) {
				continue
			}
		}
		if is != fieldTypes[place] {
			return place
		}
	}
	return -1
}

func columnName(place int) string { return strings.Split(recordColumns, ", ")[place] }

const surveyPruned = "SELECT seq, hash FROM pruned WHERE seq BETWEEN ? AND ? ORDER BY seq"

func (v *surveyor) readPruned(s *stretch) error {
	row := v.short[:2]
	return v.lens.each(surveyPruned, row, func() error {
		seq := row[0].(int64)
		kept, _ := row[1].([]byte)
		place := seq - s.first
		switch {
		case v.kinds[place] == leafRecord:
			s.find(seq, "pruned", seqKey(seq, seq), wasInserted, "the record is there")
		case len(kept) != len(hash{}):
			v.kinds[place] = leafSpoilt
			s.find(seq, "pruned", seqKey(seq, seq), wasAltered, "this is no hash")
		default:
			v.kinds[place], v.leaves[place] = leafPruned, hash(kept)
		}
		return nil
	}, s.first, s.last)
}

const surveyBlocks = "SELECT n, hash FROM blocks WHERE level = 1 AND n BETWEEN ? AND ? ORDER BY n"

func (v *surveyor) readBlocks(s *stretch) error {
	for first := s.first; first <= s.last; first += blockSize {
		s.blocks = append(s.blocks, blockSum{n: (first - 1) / blockSize, size: min(blockSize, s.last-first+1)})
	}
	row := v.short[:2]
	return v.lens.each(surveyBlocks, row, func() error {
		n, ok := row[0].(int64)
		root, _ := row[1].([]byte)
		if b := &s.blocks[n-s.blocks[0].n]; ok && len(root) == len(hash{}) {
			b.stored, b.isStored = hash(root), true
		}
		return nil
	}, s.blocks[0].n, s.blocks[len(s.blocks)-1].n)
}

const surveyCheckpoints = "SELECT size, n, note FROM checkpoints WHERE size BETWEEN ? AND ? ORDER BY size"

func (v *surveyor) readCheckpoints(s *stretch) error {
	row := v.short[:3]
	err := v.lens.each(surveyCheckpoints, row, func() error {
		n, _ := row[1].(int64)
		note, _ := row[2].(string)
		s.heads = append(s.heads, head{size: row[0].(int64), n: n, note: note})
		return nil
	}, s.first, s.last)
	for _, a := range v.anchors.between(s.first, s.last) {
		s.heads = append(s.heads, head{size: a.size, anchor: a})
	}
	slices.SortStableFunc(s.heads, func(a, b head) int { return cmp.Compare(a.size, b.size) })
	return err
}

// surveyPlaces asks for records that the index of sessions is said to have, and has not.
const surveyPlaces = `SELECT session, seq FROM records WHERE seq BETWEEN ? AND min(?, (` + selectIndexed + `)) AND session <> 0
	AND NOT EXISTS(SELECT 1 FROM session_records WHERE session_id = session AND record = seq) LIMIT 100`

func (v *surveyor) readPlaces(s *stretch) error {
	row := v.short[:2]
	return v.lens.each(surveyPlaces, row, func() error {
		id, _ := row[0].(int64)
		seq, _ := row[1].(int64)
		s.findings = append(s.findings, Finding{Table: "session_records", Key: placeKey(id, seq), What: wasRemoved, at: behindAll})
		return nil
	}, s.first, s.last)
}

// judge says of each bad row what happened to it, and of each number without a record whether its hash is kept.
func (v *surveyor) judge(s *stretch) {
	for i := range v.bad {
		what, detail := v.reorderedFrom(&v.bad[i])
		s.find(v.bad[i].seq, "records", seqKey(v.bad[i].seq, v.bad[i].seq), what, detail)
	}
	for i := range s.blocks {
		b := &s.blocks[i]
		b.gone, b.known = true, true
		for seq := b.n*blockSize + 1; seq <= b.n*blockSize+b.size; seq++ {
			kind := v.kinds[seq-s.first]
			b.known = b.known && kind != leafMissing && kind != leafSpoilt
			b.gone = b.gone && kind == leafMissing
		}
		v.miss(s, b)
	}
	for i := range s.findings {
		if at := s.findings[i].at; at <= s.last {
			s.blocks[(at-s.first)/blockSize].doubtful = true
		}
	}
}

// miss notes which records of b are not there. They are deleted by retention, if their hashes are kept or their
// block is gone as a whole: its root is kept then.
func (v *surveyor) miss(s *stretch, b *blockSum) {
	var removed []run
	for seq := b.n*blockSize + 1; seq <= b.n*blockSize+b.size; seq++ {
		switch kind := v.kinds[seq-s.first]; {
		case kind == leafPruned, kind == leafMissing && b.gone && b.size == blockSize:
			s.deleted = extend(s.deleted, seq)
		case kind == leafMissing:
			removed = extend(removed, seq)
		}
	}
	for _, r := range removed {
		s.find(r.first, "records", seqKey(r.first, r.last), wasRemoved, "")
	}
}

// nearby is how far from its place a row is looked for that seems to have been moved.
const nearby = 64

// reorderedFrom tells whether a bad row is a good one with another number, one nearby or that of another bad row.
func (v *surveyor) reorderedFrom(b *badRow) (what, detail string) {
	column, _ := b.values[recordFields].([]byte)
	stored, _ := b.values[recordFields+1].([]byte)
	was := func(seq int64) bool {
		b.values[placeSeq] = seq
		leaf, err := v.encoder.leafOf(b.values[:recordFields], column)
		return err == nil && string(leaf[:]) == string(stored)
	}
	for d := int64(1); d <= nearby; d++ {
		for _, seq := range [...]int64{b.seq + d, b.seq - d} {
			if was(seq) {
				return wasReordered, fmt.Sprintf("what stands here was recorded as %d", seq)
			}
		}
	}
	for i := range v.bad[:min(len(v.bad), nearby)] {
		if was(v.bad[i].seq) && v.bad[i].seq != b.seq {
			return wasReordered, fmt.Sprintf("what stands here was recorded as %d", v.bad[i].seq)
		}
	}
	return wasAltered, ""
}

// sum makes the roots of the blocks, and of the parts of them that checkpoints cover.
func (v *surveyor) sum(s *stretch) {
	next := s.heads
	for i := range s.blocks {
		b := &s.blocks[i]
		leaves := v.leaves[b.n*blockSize+1-s.first:][:b.size]
		v.settle(s, b, leaves)
		begin := b.n * blockSize
		t := tree{edge: make([]hash, 0, blockHeight+1)}
		keep := func(_ int, _ int64, root hash) error { b.computed = root; return nil }
		for place := range leaves {
			if kind := v.kinds[begin+1-s.first+int64(place)]; kind == leafMissing || kind == leafSpoilt {
				break
			}
			_ = t.append(leaves[place], keep) // keep does not fail
			for ; len(next) > 0 && next[0].size == begin+t.size; next = next[1:] {
				next[0].part, next[0].known = t.root(), true
			}
		}
		for len(next) > 0 && next[0].size <= begin+b.size {
			next[0].known = next[0].size == begin+blockSize && b.isStored
			next = next[1:]
		}
	}
}

// settle chooses for the bad rows of a block between the hash that is stored and the one of the fields as they are:
// the block's root tells which was the leaf.
func (v *surveyor) settle(s *stretch, b *blockSum, leaves []hash) {
	if !b.known || !b.isStored || len(v.bad) == 0 || !b.doubtful || blockRoot(leaves) == b.stored {
		return
	}
	for i := range v.bad {
		if place := v.bad[i].seq - b.n*blockSize - 1; place >= 0 && place < blockSize {
			kept := leaves[place]
			v.bad[i].values[placeSeq] = v.bad[i].seq
			column, _ := v.bad[i].values[recordFields].([]byte)
			leaf, err := v.encoder.leafOf(v.bad[i].values[:recordFields], column)
			if leaves[place] = leaf; err != nil || blockRoot(leaves) != b.stored {
				leaves[place] = kept
			}
		}
	}
}

// blockRoot returns the root of a block's leaves.
func blockRoot(leaves []hash) hash {
	level := append(make([]hash, 0, blockSize), leaves...)
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = tlog.NodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}
