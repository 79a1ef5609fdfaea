package proxy

import (
	"net"
	"sync"
	"time"
)

// past is a deadline that has passed: it wakes whoever reads.
var past = time.Unix(1, 0)

// socket is the client's connection below TLS. While corked it gathers the records that crypto/tls writes
// one by one and hands the kernel one large write.
type socket struct {
	net.Conn
	limit  time.Duration // of a write during which the peer reads nothing
	mu     sync.Mutex    // a read in another goroutine may answer a key update
	corked bool
	seen   *TLS    // what the handshake under way has told; nil when none is
	buf    *[]byte // borrowed while it holds something
}

// corkSize fits a large buffer of octets in TLS records and their overhead.
const corkSize = largeSize + 16*1024

var corks = sync.Pool{New: func() any { return newBuffer(corkSize) }}

func (k *socket) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.corked {
		return k.writeLocked(p)
	}
	if k.buf != nil && len(*k.buf)+len(p) > corkSize {
		if err := k.flushLocked(); err != nil {
			return 0, err
		}
	}
	if len(p) > corkSize {
		return k.writeLocked(p)
	}
	if k.buf == nil {
		k.buf = corks.Get().(*[]byte)
		*k.buf = (*k.buf)[:0]
	}
	*k.buf = append(*k.buf, p...)
	return len(p), nil
}

// writeLocked sets the deadline here and not with the reply, for crypto/tls writes on its own too: it answers a key
// update. A peer that reads slowly is borne; only one that reads nothing runs into the deadline.
func (k *socket) writeLocked(p []byte) (n int, err error) {
	for {
		k.Conn.SetWriteDeadline(time.Now().Add(k.limit))
		m, err := k.Conn.Write(p[n:])
		n += m
		if m == 0 || !isTimeout(err) {
			return n, err
		}
	}
}

// hurry shortens the limit: the connection is about to be closed.
func (k *socket) hurry(limit time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limit = limit
}

func (k *socket) cork() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.corked = true
}

func (k *socket) uncork() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.corked = false
	return k.flushLocked()
}

func (k *socket) flushLocked() error {
	if k.buf == nil {
		return nil
	}
	_, err := k.writeLocked(*k.buf)
	corks.Put(k.buf)
	k.buf = nil
	return err
}
