package proxy

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"net"
	"time"

	"postern/proxy/pop3"
)

// client is the client's leg: lines in, replies out.
type client struct {
	socket socket
	conn   net.Conn // POP3 is spoken over it: socket, or TLS over socket
	tls    *tls.Conn

	in   []byte // in[r:w] is unread
	r, w int
	err  error // what ended reading; lines that came before it are still good

	out  *[]byte   // replies on their way, borrowed from outs, or from larges
	late time.Time // when out must go, though more may come
	due  Receipt   // must be good before out goes; nil: nothing to wait for

	opening *Event              // that mail is asked for: on record before any of it goes, and before what becomes of it
	record  func(Event) Receipt // of the session

	inReply bool // a reply with a body is being queued: nothing else may be said
	exposed bool // part of a reply is with the client, its end is not

	broken         error // what made writing impossible
	received, sent int64
	total          *counters // of the server
}

const firstLine = 1024 // octets of the read buffer: two commands of the longest kind

func newClient(conn net.Conn, writeLimit time.Duration, total *counters) *client {
	c := &client{socket: socket{Conn: conn, limit: writeLimit}, in: make([]byte, firstLine), total: total}
	c.conn = &c.socket
	return c
}

// next returns the next buffered line without its line end, if there is a whole one. It is good until the
// next read.
func (c *client) next() (line []byte, whole bool) {
	line, n := cutLine(c.pending())
	c.r += n
	return line, n > 0
}

// cutLine returns the first line of b without its line end, and how many octets it takes with it: 0 when there is no
// whole line.
func cutLine(b []byte) (line []byte, n int) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, 0
	}
	return bytes.TrimSuffix(b[:i], []byte{'\r'}), i + 1
}

// pending returns what is buffered of the next line or lines.
func (c *client) pending() []byte { return c.in[c.r:c.w] }

// room makes room behind what is buffered, growing up to limit octets, and returns it: empty when there is
// none to be had.
func (c *client) room(limit int) []byte {
	if c.r > 0 {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	switch {
	case c.w == 0 && len(c.in) > firstLine && limit < len(c.in):
		c.in = make([]byte, firstLine) // the long line has gone
	case c.w == len(c.in) && c.w < limit:
		c.in = append(make([]byte, 0, limit), c.in...)[:limit]
	}
	return c.in[c.w:]
}

// release gives the buffer back while nothing is in it.
func (c *client) release() {
	if c.r == c.w {
		c.in, c.r, c.w = nil, 0, 0
	}
}

// took counts n octets that were read into room.
func (c *client) took(n int, err error) {
	c.w += n
	c.received += int64(n)
	c.total.received.Add(int64(n))
	if err != nil && !isTimeout(err) {
		c.err = err
	}
}

// queue puts octets behind the replies on their way. What does not fit, and what is too large to be copied, makes
// the earlier ones go first, so that the order is kept and no small piece, a terminator least of all, is split.
func (c *client) queue(p []byte) error {
	if len(p) > outSize/2 && !c.gathers(len(p)) {
		if err := c.flush(); err != nil {
			return err
		}
		return c.writeDirect(p)
	}
	if err := c.fit(len(p)); err != nil {
		return err
	}
	*c.out = append(*c.out, p...)
	return nil
}

// gathers makes out ready for n octets of a message of which nothing has gone yet, and reports whether they fit. One that
// is whole before any of it goes waits for one commit in place of two, and takes one write in place of three.
func (c *client) gathers(n int) bool {
	if !c.inReply || c.exposed || c.out == nil || len(*c.out)+n+len(terminator) > largeSize {
		return false
	}
	if cap(*c.out) < largeSize {
		large := larges.Get().(*[]byte)
		*large = append((*large)[:0], *c.out...)
		giveBack(c.out)
		c.out = large
	}
	return true
}

const terminator = ".\r\n"

// giveBack returns a buffer of replies to where it was borrowed.
func giveBack(out *[]byte) {
	*out = (*out)[:cap(*out)]
	if len(*out) < largeSize {
		outs.Put(out)
		return
	}
	larges.Put(out)
}

// queueLine queues a line and its CRLF, together.
func (c *client) queueLine(line []byte) error {
	if len(line)+2 > outSize/2 {
		return c.queue(append(bytes.Clone(line), '\r', '\n'))
	}
	if err := c.fit(len(line) + 2); err != nil {
		return err
	}
	*c.out = append(append(*c.out, line...), '\r', '\n')
	return nil
}

// fit makes out ready for n octets more.
func (c *client) fit(n int) error {
	if c.out != nil && len(*c.out)+n > cap(*c.out) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.out == nil {
		c.late = time.Now().Add(heldBack)
		c.out = outs.Get().(*[]byte)
		*c.out = (*c.out)[:0]
	}
	return nil
}

// queued returns how many octets have been queued so far, and reachable how many of them went or may yet go: fewer,
// when writing has failed.
func (c *client) queued() int64 {
	if c.out == nil {
		return c.sent
	}
	return c.sent + int64(len(*c.out))
}

func (c *client) reachable() int64 {
	if c.broken != nil {
		return c.sent
	}
	return c.queued()
}

// waits reports whether replies are on their way.
func (c *client) waits() bool { return c.out != nil }

// flush sends the queued replies once their record is kept: the promise stands here.
func (c *client) flush() error {
	if c.out == nil {
		return c.settle()
	}
	out := c.out
	c.out = nil
	defer giveBack(out)
	return c.writeDirect(*out)
}

// drop forgets the queued replies.
func (c *client) drop() {
	if c.out != nil {
		giveBack(c.out)
		c.out = nil
	}
	c.due = nil
}

func (c *client) settle() error {
	if c.inReply && c.opening != nil && c.broken == nil {
		opened := *c.opening
		c.opening = nil
		c.due = c.record(opened)
	}
	if c.due != nil && c.broken == nil {
		c.broken = c.due.Wait()
		c.due = nil
	}
	return c.broken
}

// writeDirect writes p once what is due is kept. After a failure nothing goes any more, for a reply left out
// would make the next one answer the wrong command.
func (c *client) writeDirect(p []byte) error {
	if err := c.settle(); err != nil {
		return err
	}
	c.broken = c.write(p)
	return c.broken
}

func (c *client) write(p []byte) error {
	large := c.tls != nil && len(p) > outSize
	if large {
		c.socket.cork()
	}
	n, err := c.conn.Write(p)
	c.sent += int64(n)
	c.total.sent.Add(int64(n))
	if large {
		err = cmp.Or(err, c.socket.uncork())
	}
	c.exposed = c.inReply
	return err
}

// close ends the leg in good order. When octets may still be on their way from the client it lingers, since
// closing over them would reset the connection and lose the last reply.
func (c *client) close(linger bool) {
	c.socket.hurry(lingerLimit)
	c.socket.SetReadDeadline(time.Now().Add(lingerLimit))
	if c.tls != nil {
		c.tls.CloseWrite()
	}
	if half, ok := c.socket.Conn.(interface{ CloseWrite() error }); ok && linger {
		half.CloseWrite()
		c.discard()
	}
	c.socket.Close()
}

const (
	lingerLimit  = time.Second
	lingerOctets = 256 * 1024
)

func (c *client) discard() {
	into := make([]byte, firstLine)
	for left := lingerOctets; left > 0; {
		n, err := c.socket.Conn.Read(into)
		if err != nil {
			return
		}
		left -= n
	}
}

// bound returns how long the line that starts with p may be.
func bound(p []byte) int {
	const auth = "AUTH "
	if len(p) >= len(auth) && bytes.EqualFold(p[:len(auth)], []byte(auth)) {
		return pop3.MaxSASL
	}
	return pop3.MaxCommand
}
