package proxy

import (
	"net"
	"sync"
	"time"
)

// backend is the backend's leg: commands out, status lines and bodies in.
type backend struct {
	conn   net.Conn
	below  *arrived // under conn when it is TLS
	socket *peeker  // at what was dialled
	link   link
	peek   [1]byte // where a watch puts what comes unasked

	buf  *[]byte // borrowed while a reply is due; (*buf)[r:w] is unread
	pool *sync.Pool
	r, w int

	replyBy  time.Time // when the status line that is due must be whole; zero: its time has not begun
	quitting bool      // QUIT is waiting for its reply, to be finished whatever the client does

	writeLimit, replyLimit time.Duration
}

// send writes whole lines.
func (b *backend) send(lines []byte) error {
	b.conn.SetWriteDeadline(time.Now().Add(b.writeLimit))
	_, err := b.conn.Write(lines)
	return err
}

// unread returns what has come and was not taken.
func (b *backend) unread() []byte {
	if b.buf == nil {
		return nil
	}
	return (*b.buf)[b.r:b.w]
}

// next takes the next buffered line without its line end, if there is a whole one.
func (b *backend) next() (line []byte, whole bool) {
	line, n := cutLine(b.unread())
	b.r += n
	return line, n > 0
}

// room makes room behind what is unread and returns it. A body on its way gets a large buffer.
func (b *backend) room(body bool) []byte {
	if b.buf == nil {
		b.pool = &smalls
		b.buf = smalls.Get().(*[]byte)
	}
	if b.r > 0 {
		b.w = copy(*b.buf, (*b.buf)[b.r:b.w])
		b.r = 0
	}
	if b.w == len(*b.buf) || body && b.pool == &smalls {
		b.enlarge()
	}
	return (*b.buf)[b.w:]
}

func (b *backend) enlarge() {
	if b.pool == &larges {
		return
	}
	large := larges.Get().(*[]byte)
	copy(*large, (*b.buf)[:b.w])
	b.pool.Put(b.buf)
	b.buf, b.pool = large, &larges
}

// rest gives the buffer back when nothing is left in it.
func (b *backend) rest() {
	b.quitting = false
	if b.buf != nil && b.r == b.w {
		b.pool.Put(b.buf)
		b.buf, b.r, b.w = nil, 0, 0
	}
}

// close cuts the leg and gives everything back.
func (b *backend) close() {
	b.conn.Close()
	b.r, b.w = 0, 0
	b.rest()
}
