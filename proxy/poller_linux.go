package proxy

import (
	"cmp"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// poller wakes sessions that rest: one epoll and one goroutine for all of them. The zero poller is ready; it begins with
// the first session that rests, and ends by close.
type poller struct {
	running sync.WaitGroup

	mu      sync.Mutex
	epoll   *os.File   // nil before the first session
	fd      int        // of epoll
	resting []*session // by descriptor of a connection
}

// polls reports whether a poller can tell of conn.
func polls(conn net.Conn) bool {
	_, ok := conn.(syscall.Conn)
	return ok
}

// add wakes s once conn has something to read, or its end: soon, or at once. It reports false when it cannot.
func (p *poller) add(conn net.Conn, s *session) (added bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.beginLocked(); err != nil {
		return false
	}
	control(conn, func(fd int) {
		for len(p.resting) <= fd {
			p.resting = append(p.resting, nil)
		}
		p.resting[fd] = s
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(fd)}
		added = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &event) == nil
	})
	return added
}

// remove forgets conn. One that was closed meanwhile epoll has forgotten by itself.
func (p *poller) remove(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	control(conn, func(fd int) {
		if fd < len(p.resting) && p.resting[fd] != nil {
			p.resting[fd] = nil
			syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, fd, nil)
		}
	})
}

// beginLocked starts the poller, unless it runs. Go's own poller tells of what epoll has to tell, so that it takes no thread.
func (p *poller) beginLocked() error {
	if p.epoll != nil {
		return nil
	}
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	syscall.SetNonblock(fd, true) // or Go's poller does not take it
	epoll := os.NewFile(uintptr(fd), "epoll")
	raw, err := epoll.SyscallConn()
	if err = cmp.Or(err, epoll.SetReadDeadline(time.Time{})); err != nil { // it has not: nobody would be woken
		epoll.Close()
		return err
	}
	p.fd, p.epoll = fd, epoll
	p.running.Go(func() { p.run(raw) })
	return nil
}

// run wakes sessions until close.
func (p *poller) run(epoll syscall.RawConn) {
	events := make([]syscall.EpollEvent, 64)
	for n := 0; ; {
		err := epoll.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, ev := range events[:n] {
			if s := p.at(int(ev.Fd)); s != nil {
				s.unpark()
			}
		}
	}
}

// at returns the session that rests on a descriptor. It may be another one than an event was for, and then wakes for
// nothing.
func (p *poller) at(fd int) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resting[fd]
}

// close ends the poller; no session is left.
func (p *poller) close() {
	p.mu.Lock()
	if p.epoll != nil {
		p.epoll.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}
