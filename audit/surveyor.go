package audit

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
)

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
			s.thin(seq, column[0])
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
	for place, v := range r.appendValues(nil, nil) {
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
		if ok && len(root) == len(hash{}) { // else, whoever wrote it past SQLite's types, it is missing
			b := &s.blocks[n-s.blocks[0].n]
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
