package audit

import "golang.org/x/mod/sumdb/tlog"

// roots holds what is stored of the tree against what the records add up to, block by block, and both against the
// signed checkpoints. Where a block's stored root is not that of its leaves, one of them was altered: two trees grow on
// then, one with each, and the next checkpoint tells which is the true one.
type roots struct {
	found    *findings
	first    int64 // the first block that is looked at
	level1   []hash
	summed   tree // over blocks, each by the root of its leaves where they are there
	stored   tree // over blocks, each by its stored root; only while there are conflicts
	conflict []blockSum
	good     int64 // size of the last checkpoint whose root is right
	blamed   bool  // since then there was one whose root is not, and it was told of
	pruned   []run
	gone     []run // numbers of blocks
}

// add takes up the next block.
func (r *roots) add(b *blockSum) {
	root, stored := b.computed, b.stored
	switch {
	case b.size < blockSize:
		return // its root is stored once it is full
	case !b.isStored:
		f := Finding{Table: "blocks", Key: blockKey(1, b.n, b.n), What: wasRemoved, at: (b.n + 1) * blockSize}
		if b.gone {
			f.Detail = "and none of its records is left"
		}
		r.found.add(f)
		stored = root
	case !b.known, b.doubtful && root != stored: // what is wrong with its leaves is told already
		root = stored
	}
	if b.gone {
		r.gone = extend(r.gone, b.n)
	}
	if root != stored {
		if len(r.conflict) == 0 {
			r.stored = r.summed.clone()
		}
		r.conflict = append(r.conflict, *b)
	}
	if len(r.conflict) > 0 {
		_ = r.stored.append(stored, ignore)
	}
	_ = r.summed.append(root, ignore)
	r.level1 = append(r.level1, root)
}

func ignore(int, int64, hash) error { return nil }

func (t *tree) clone() tree { return tree{size: t.size, edge: append([]hash{}, t.edge...)} }

// head returns the root of a tree over whole blocks and the part of one more.
func (t *tree) head(part *hash) hash {
	if part == nil {
		return t.root()
	}
	root := *part
	for i := len(t.edge) - 1; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	return root
}

// compare holds a signed root against the tree as it is now. vouch tells whether the signature is good; it is asked
// only if the root is wrong.
func (r *roots) compare(size int64, part *hash, root hash, vouch func() bool) {
	if size%blockSize == 0 {
		part = nil
	}
	switch {
	case r.summed.head(part) == root:
		for _, b := range r.conflict {
			r.found.add(Finding{Table: "blocks", Key: blockKey(1, b.n, b.n), What: wasAltered, at: (b.n + 1) * blockSize})
		}
	case len(r.conflict) > 0 && r.stored.head(part) == root:
		for _, b := range r.conflict {
			r.blame(max(r.good, b.n*blockSize), b.n*blockSize+blockSize)
			r.level1[b.n-r.first] = b.stored
		}
		r.summed = r.stored
	case !vouch():
		return
	default:
		r.blame(r.good, size)
		r.blamed = true
		return
	}
	r.conflict, r.good, r.blamed = nil, size, false
	r.pruned = behind(r.pruned, size)
	r.gone = behind(r.gone, size/blockSize-1)
}

// behind returns what of the spans lies behind a number.
func behind(spans []run, n int64) []run {
	for len(spans) > 0 && spans[0].last <= n {
		spans = spans[1:]
	}
	return spans
}

// blame tells that one of the records after a number and up to another is not what was signed, if nothing else
// that was found there tells more.
func (r *roots) blame(after, last int64) {
	if r.blamed || r.found.within(after, last) {
		return
	}
	f := Finding{Table: "records", Key: seqKey(after+1, last), What: wasAltered, at: after + 1,
		Detail: "one of them and its hash are not what was signed"}
	if s, ok := overlap(r.gone, after/blockSize, (last-1)/blockSize); ok {
		f = Finding{Table: "blocks", Key: blockKey(1, s.first, s.last), What: wasAltered, at: max(after, s.first*blockSize) + 1,
			Detail: "or of records " + f.Key + " one and its hash"}
	} else if s, ok := overlap(r.pruned, after+1, last); ok {
		f = Finding{Table: "pruned", Key: seqKey(s.first, s.last), What: wasAltered, at: s.first,
			Detail: "or of records " + f.Key + " one and its hash"}
	}
	r.found.add(f)
}

// overlap returns the hull of what spans have in common with the numbers first to last.
func overlap(spans []run, first, last int64) (hull run, ok bool) {
	for _, s := range spans {
		s.first, s.last = max(s.first, first), min(s.last, last)
		if s.first > s.last {
			continue
		}
		if !ok {
			hull = s
		}
		hull.last, ok = s.last, true
	}
	return hull, ok
}

// unsettled tells of blocks that no checkpoint could settle: there is none behind them.
func (r *roots) unsettled() {
	for _, b := range r.conflict {
		r.found.add(Finding{Table: "blocks", Key: blockKey(1, b.n, b.n), What: wasAltered, at: (b.n + 1) * blockSize,
			Detail: "or one of its records and its hash"})
	}
	r.conflict = nil
}

// above compares the stored roots of higher levels with those that the first level's add up to. stored calls visit
// with each. In a part of the log, first is a whole number of the blocks whose roots can be made.
func (r *roots) above(stored map[int]map[int64]hash) {
	below, first := r.level1, r.first
	for level := 2; len(below) > 0; level++ {
		whole := (first + blockSize - 1) / blockSize
		below = below[min(int64(len(below)), whole*blockSize-first):]
		var roots []hash
		for ; len(below) >= blockSize; below = below[blockSize:] {
			roots = append(roots, blockRoot(below[:blockSize]))
		}
		for i, root := range roots {
			n := whole + int64(i)
			r.checkAbove(level, n, root, stored[level])
		}
		below, first = roots, whole
	}
}

func (r *roots) checkAbove(level int, n int64, root hash, stored map[int64]hash) {
	leaves := int64(1) << (blockHeight * level)
	kept, ok := stored[n]
	f := Finding{Table: "blocks", Key: blockKey(level, n, n), at: (n + 1) * leaves}
	switch {
	case !ok:
		f.What = wasRemoved
	case kept != root && !r.found.within(n*leaves, (n+1)*leaves):
		f.What = wasAltered
	default:
		return
	}
	r.found.add(f)
}
