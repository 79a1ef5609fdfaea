package audit

import (
	"context"

	"postern/proxy"
)

// Log is the audit log, opened for writing. It implements proxy.Recorder.
type Log struct {
	reader *Reader
}

var _ proxy.Recorder = (*Log)(nil)

// Open takes the lock, opens or makes the database, closes what a crash left open, and starts the writer.
func Open(ctx context.Context, o Options) (*Log, error) { return nil, ErrClosed }

// Record appends ev to the batch being gathered. It blocks only while the queue is full.
func (l *Log) Record(ev proxy.Event) proxy.Receipt { return nil }

// Reader returns the log's own Reader, which Close closes.
func (l *Log) Reader() *Reader { return l.reader }

// Health tells how the log fares; it does no I/O.
func (l *Log) Health() Health { return Health{} }

// Close commits what is queued, writes a stop record, checkpoints, and frees the lock.
func (l *Log) Close() error { return nil }
