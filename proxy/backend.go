package proxy

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// backend is the backend's leg: commands out, status lines and bodies in.
type backend struct {
	conn  net.Conn
	below *arrived // under conn when it is TLS
	link  link
	peek  [1]byte // where a watch puts what comes unasked

	buf  *[]byte // borrowed while a reply is due; (*buf)[r:w] is unread
	pool *sync.Pool
	r, w int

	replyBy  time.Time // when the status line that is due must be whole
	asked    bool      // a command is waiting for its reply
	quitting bool      // it is QUIT, to be finished whatever the client does

	writeLimit, replyLimit time.Duration
}

// send writes one command or SASL line.
func (b *backend) send(line []byte) error {
	now := time.Now()
	b.conn.SetWriteDeadline(now.Add(b.writeLimit))
	b.replyBy = now.Add(b.replyLimit)
	b.asked = true
	_, err := b.conn.Write(line)
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
	i := bytes.IndexByte(b.unread(), '\n')
	if i < 0 {
		return nil, false
	}
	line = (*b.buf)[b.r : b.r+i]
	b.r += i + 1
	return bytes.TrimSuffix(line, []byte{'\r'}), true
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
	b.asked, b.quitting = false, false
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
