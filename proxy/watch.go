package proxy

import (
	"errors"
	"net"
	"time"
)

// quiet is how long a session blocks on one side before it begins to watch the other. A session that is
// moving never pays for the second goroutine; one that rests notices within this time, or at once later, that
// the other side spoke or went away.
const quiet = 200 * time.Millisecond

// errNoRoom tells a watch's event that buf is full: nothing is watched any more.
var errNoRoom = errors.New("no room")

// watch reads from the side that is not waited for, so that its end is noticed. Its owner calls stop before
// it touches buf or reads from conn again.
type watch struct {
	conn  net.Conn
	buf   []byte
	event func(n int, err error) (goOn bool) // called in the watch's goroutine; conn's deadline is no event

	done chan struct{}
	n    int   // octets read; owned by the goroutine until done
	err  error // what ended reading, nil when only stop did
}

// startWatch watches conn until stop, an error, a full buf, or event says so.
func startWatch(conn net.Conn, buf []byte, deadline time.Time, event func(int, error) bool) *watch {
	w := &watch{conn: conn, buf: buf, event: event, done: make(chan struct{})}
	conn.SetReadDeadline(deadline)
	go w.run()
	return w
}

func (w *watch) run() {
	defer close(w.done)
	for w.n < len(w.buf) {
		n, err := w.conn.Read(w.buf[w.n:])
		w.n += n
		if err != nil && !isTimeout(err) {
			w.err = err
		}
		goOn := (n > 0 || w.err != nil) && w.event(n, w.err)
		if err != nil || !goOn {
			return
		}
	}
	w.event(0, errNoRoom)
}

// stop ends the watch and tells what it saw.
func (w *watch) stop() (n int, err error) {
	w.conn.SetReadDeadline(past)
	<-w.done
	return w.n, w.err
}
