package proxy

import "sync"

// Buffers are borrowed only while there is something to move, so that an idle session holds none.
const (
	smallSize = 4 * 1024
	outSize   = 16 * 1024  // replies waiting for their records: one TLS record, so that a terminator is never split
	largeSize = 128 * 1024 // a body on its way
)

var (
	smalls = sync.Pool{New: func() any { return newBuffer(smallSize) }}
	outs   = sync.Pool{New: func() any { return newBuffer(outSize) }}
	larges = sync.Pool{New: func() any { return newBuffer(largeSize) }}
)

func newBuffer(size int) *[]byte {
	b := make([]byte, size)
	return &b
}
