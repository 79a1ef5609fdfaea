package audit

import (
	"context"
	"database/sql"
	"errors"
)

// Names in the table meta.
const (
	metaOrigin  = "origin"  // the log's name in its checkpoints
	metaKey     = "key"     // the verifier key of the signing key in force; the newest start or key record has it, too
	metaIndexed = "indexed" // the record up to which session_records is complete
)

// meta returns a value of the table meta, "" if there is none.
func meta(ctx context.Context, q queryer, name string) (value string, err error) {
	err = q.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// newestCheckpoint returns the newest checkpoint, with Size 0 if there is none. Its signature is not looked at.
func newestCheckpoint(ctx context.Context, q queryer) (c Checkpoint, err error) {
	var text string
	err = q.QueryRowContext(ctx, "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	origin, err := meta(ctx, q, metaOrigin)
	if err != nil {
		return c, err
	}
	return parseCheckpoint(text, origin)
}
