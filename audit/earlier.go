package audit

import (
	"database/sql/driver"
	"fmt"
	"slices"
)

// maxEarlier bounds the anchors of what is not looked at again that are compared: the newest, and some of all others.
const maxEarlier = 4096

// earlier holds anchors of the part of the log that a verification does not look at again against the hashes that are stored of
// it. The checkpoint at which it goes on vouches for these: all that the roots of blocks add up to is what was signed. So whoever
// has signed another history, and left another checkpoint beside the log, is found out by the anchors from before.
type earlier struct {
	*verifier
	wait []*anchor // in the order of their sizes
	sum  tree      // over blocks
	row  [1]driver.Value
}

// holdEarlier compares those anchors.
func (v *verifier) holdEarlier() error {
	e := earlier{verifier: v, wait: sample(v.outside.between(1, v.from))}
	if len(e.wait) == 0 {
		return nil
	}
	return v.lens.within(func() error {
		var row [2]driver.Value
		const query = "SELECT n, hash FROM blocks WHERE level = 1 AND n BETWEEN 0 AND ? ORDER BY n"
		err := v.lens.each(query, row[:], func() error {
			n, _ := row[0].(int64)
			root, _ := row[1].([]byte)
			if n != e.sum.size || len(root) != len(hash{}) {
				return nil // they will not add up
			}
			return e.add(hash(root))
		}, v.from/blockSize-1)
		if err == nil && !slices.Equal(e.sum.edge, v.roots.summed.edge) {
			v.findings.add(Finding{Table: "blocks", What: wasAltered, at: 1, Detail: "they do not add up to one another: --full tells more"})
		}
		return err
	})
}

// sample leaves out some of the older ones when there are too many.
func sample(all []*anchor) []*anchor {
	more := len(all) - maxEarlier
	if more <= 0 {
		return all
	}
	old, kept := all[:more+maxEarlier/2], []*anchor(nil)
	for i := range maxEarlier / 2 {
		kept = append(kept, old[i*len(old)/(maxEarlier/2)])
	}
	return append(kept, all[more+maxEarlier/2:]...)
}

// add takes up the root of the next block, and holds the anchors against it that end in it.
func (e *earlier) add(root hash) error {
	begin := e.sum.size * blockSize
	var leaves []hash
	for ; len(e.wait) > 0 && e.wait[0].size < begin+blockSize; e.wait = e.wait[1:] {
		if leaves == nil {
			var err error
			if leaves, err = e.leaves(begin, root); err != nil {
				return err
			}
		}
		if len(leaves) == blockSize {
			part := rootOver(leaves[:e.wait[0].size-begin])
			e.hold(e.wait[0], e.sum.head(&part))
		}
	}
	_ = e.sum.append(root, ignore)
	for ; len(e.wait) > 0 && e.wait[0].size == begin+blockSize; e.wait = e.wait[1:] {
		e.hold(e.wait[0], e.sum.root())
	}
	return nil
}

// leaves returns those of a block, fewer if retention has deleted some and kept but the root.
func (e *earlier) leaves(begin int64, root hash) ([]hash, error) {
	leaves := make([]hash, 0, blockSize)
	const query = "SELECT hash FROM (" + selectLeaves + ")"
	first, last := begin+1, begin+blockSize
	err := e.lens.each(query, e.row[:], func() error {
		if b, _ := e.row[0].([]byte); len(b) == len(hash{}) && len(leaves) < blockSize {
			leaves = append(leaves, hash(b))
		}
		return nil
	}, first, last, first, last)
	if err == nil && len(leaves) == blockSize && blockRoot(leaves) != root {
		n := begin / blockSize
		e.findings.add(Finding{Table: "blocks", Key: blockKey(1, n, n), What: wasAltered, at: last, Detail: "or one of its records' hashes"})
		leaves = leaves[:0]
	}
	return leaves, err
}

// rootOver is the root of a tree of some leaves.
func rootOver(leaves []hash) hash {
	var t tree
	for _, leaf := range leaves {
		_ = t.append(leaf, ignore)
	}
	return t.root()
}

// hold compares one anchor with the root of as many records.
func (e *earlier) hold(a *anchor, root hash) {
	if e.verdict.Anchors++; a.root == root {
		return
	}
	f := Finding{Table: "records", Key: seqKey(1, a.size), What: wasAltered, at: 1,
		Detail: fmt.Sprintf("they are not those that were there when %s was written: --full tells more", a)}
	if !e.signedByOurs(a.note) {
		f = Finding{Table: a.from, Key: fmt.Sprintf("line %d", a.line), What: wasAltered, at: a.size, Detail: "no key of this log signed it, and it is about other records"}
	}
	e.findings.add(f)
}
