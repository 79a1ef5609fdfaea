package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// stretchSize is how many records are read in one transaction: some milliseconds. It is a multiple of blockSize.
const stretchSize = 16 * blockSize

// stretch is what one look at a part of the log has found. Stretches are filled by several workers and then taken
// in their order.
type stretch struct {
	first, last int64 // numbers of records; first is that of a block's first record
	records     []Record
	deleted     []run // those of them whose hashes, or whose block's root, are kept
	thinned     []run
	taken       [groups][]run // those of them that lost the fields of a group
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
	taken := s.taken
	for g := range taken {
		taken[g] = taken[g][:0]
	}
	*s = stretch{first: first, last: last, records: s.records[:0], deleted: s.deleted[:0],
		thinned: s.thinned[:0], taken: taken, blocks: s.blocks[:0], heads: s.heads[:0], done: make(chan struct{})}
}

func (s *stretch) find(at int64, table, key, what, detail string) {
	s.findings = append(s.findings, Finding{Table: table, Key: key, What: what, Detail: detail, at: at})
}

// thin notes that a record has lost the fields of the groups in mask.
func (s *stretch) thin(seq int64, mask byte) {
	s.thinned = extend(s.thinned, seq)
	for g := range groups {
		if mask&(1<<g) != 0 {
			s.taken[g] = extend(s.taken[g], seq)
		}
	}
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
// block is gone as a whole: its root is kept then. The last block may have been filled since the walk began, and gone.
func (v *surveyor) miss(s *stretch, b *blockSum) {
	var removed []run
	for seq := b.n*blockSize + 1; seq <= b.n*blockSize+b.size; seq++ {
		switch kind := v.kinds[seq-s.first]; {
		case kind == leafPruned, kind == leafMissing && b.gone && (b.size == blockSize || b.isStored):
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
