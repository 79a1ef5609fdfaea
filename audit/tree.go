package audit

import (
	"context"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// The hashes of the tree that are stored: of each record its leaf's, and of each complete subtree over 256
// records, 256 times 256 records and so on its root's, in the table blocks. All others are made from these.
const (
	blockHeight = 8
	blockSize   = 1 << blockHeight
)

// tree is an RFC 6962 tree that grows: its right edge, from which its root follows.
type tree struct {
	size int64
	edge []hash // roots of the complete subtrees that it is made of, the largest first
}

// append adds a leaf, and calls keep with the root of each block that it completes.
func (t *tree) append(h hash, keep func(level int, n int64, root hash) error) error {
	n, height := t.size, 0
	for ; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		h = tlog.NodeHash(t.edge[last], h)
		t.edge = t.edge[:last]
		if height++; height%blockHeight == 0 {
			if err := keep(height/blockHeight, n>>1, h); err != nil {
				return err
			}
		}
	}
	t.edge = append(t.edge, h)
	t.size++
	return nil
}

// root returns the tree's head.
func (t *tree) root() hash {
	if t.size == 0 {
		root, _ := tlog.TreeHash(0, nil) // the empty tree asks for no hash
		return root
	}
	last := len(t.edge) - 1
	root := t.edge[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	return root
}

// loadTree reads the edge of the tree over the first size records.
func loadTree(ctx context.Context, q queryer, size int64) (tree, error) {
	t := tree{size: size}
	for height := bits.Len64(uint64(size)) - 1; height >= 0; height-- {
		if size>>height&1 == 0 {
			continue
		}
		h, err := subtree(ctx, q, height, size>>height-1)
		if err != nil {
			return tree{}, err
		}
		t.edge = append(t.edge, h)
	}
	return t, nil
}

// hashes reads nodes of the tree from the database. It implements tlog.HashReader.
type hashes struct {
	ctx context.Context // of one call into tlog
	queryer
}

// ReadHashes implements tlog.HashReader.
func (r hashes) ReadHashes(indexes []int64) ([]hash, error) {
	all := make([]hash, len(indexes))
	for i, index := range indexes {
		height, n := tlog.SplitStoredHashIndex(index)
		var err error
		if all[i], err = subtree(r.ctx, r.queryer, height, n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// subtree returns the root of the n-th complete subtree of the given height. It reads at most 128 hashes.
func subtree(ctx context.Context, q queryer, height int, n int64) (hash, error) {
	level, width := height/blockHeight, int64(1)<<(height%blockHeight)
	nodes, err := storedHashes(ctx, q, level, n*width, width)
	if err != nil {
		return hash{}, err
	}
	for len(nodes) > 1 {
		for i := range len(nodes) / 2 {
			nodes[i] = tlog.NodeHash(nodes[2*i], nodes[2*i+1])
		}
		nodes = nodes[:len(nodes)/2]
	}
	return nodes[0], nil
}

// storedHashes reads count hashes of a level, level 0 being the leaves, from number first on.
func storedHashes(ctx context.Context, q queryer, level int, first, count int64) ([]hash, error) {
	query, args := selectBlocks, []any{level, first, first + count - 1}
	if level == 0 {
		query, args = selectLeaves, []any{first + 1, first + count, first + 1, first + count}
	}
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make([]hash, 0, count)
	for rows.Next() {
		var n int64
		var b []byte
		if err := rows.Scan(&n, &b); err != nil {
			return nil, err
		}
		if n != first+int64(len(all)) || len(b) != len(hash{}) {
			break
		}
		all = append(all, hash(b))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if int64(len(all)) < count {
		return nil, fmt.Errorf("%w: hash %d of level %d", ErrNoHash, first+int64(len(all)), level)
	}
	return all, nil
}

const (
	selectBlocks = "SELECT n, hash FROM blocks WHERE level = ? AND n BETWEEN ? AND ? ORDER BY n"
	selectLeaves = "SELECT seq - 1, hash FROM records WHERE seq BETWEEN ? AND ? UNION ALL " +
		"SELECT seq - 1, hash FROM pruned WHERE seq BETWEEN ? AND ? ORDER BY 1"
)
