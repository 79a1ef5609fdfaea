package audit

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Consistency proves that the log of c, a checkpoint of this log, holds the first old records as they were when there were
// no more (RFC 6962 section 2.1.2). The error wraps ErrAltered if the database does not bear c out, and ErrNoHash if
// retention kept too little of the records around old.
func (r *Reader) Consistency(ctx context.Context, old int64, c Checkpoint) (path [][32]byte, err error) {
	if old < 0 || old > c.Size {
		return nil, fmt.Errorf("prove %d records against %d: there are not as many", old, c.Size)
	}
	if old == 0 || old == c.Size {
		return nil, nil
	}
	then, err := loadTree(ctx, r.db, old)
	if err != nil {
		return nil, r.wrap(fmt.Sprintf("prove records 1 to %d", old), err)
	}
	proof, err := tlog.ProveTree(c.Size, old, hashes{ctx, r.db})
	if err != nil {
		return nil, r.wrap(fmt.Sprintf("prove records 1 to %d", old), err)
	}
	if err := tlog.CheckTree(proof, c.Size, c.Root, old, then.root()); err != nil {
		return nil, fmt.Errorf("%w: its hashes do not make the checkpoint of record %d (%w): %s", ErrAltered, c.Size, err, alteredRemedy)
	}
	for _, h := range proof {
		path = append(path, h)
	}
	return path, nil
}
