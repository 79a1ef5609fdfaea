package proxy

import (
	"net"
	"syscall"
)

// What a connection can tell without being read. Connections that are no sockets may tell the same by methods of
// these names.
type (
	waiter  interface{ Waiting() bool }
	breaker interface{ Broken() bool }
)

// peeker looks at the read side of a connection. It is made once and then allocates nothing: it looks before every
// command.
type peeker struct {
	conn   net.Conn
	raw    syscall.RawConn // nil when conn is no socket
	look   func(fd uintptr)
	octet  [1]byte
	unread bool
}

func newPeeker(conn net.Conn) *peeker {
	p := &peeker{conn: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		p.raw, _ = sc.SyscallConn()
	}
	p.look = func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), p.octet[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.unread = err == nil && n > 0
	}
	return p
}

// waiting reports whether octets have come that nobody has read.
func (p *peeker) waiting() bool {
	if w, ok := p.conn.(waiter); ok {
		return w.Waiting()
	}
	if p.unread = false; p.raw != nil {
		p.raw.Control(p.look)
	}
	return p.unread
}

// broken reports whether conn was reset by its peer, whose last octets may still be unread.
func broken(conn net.Conn) (is bool) {
	if b, ok := conn.(breaker); ok {
		return b.Broken()
	}
	control(conn, func(fd int) {
		pending, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
		is = err == nil && pending != 0
	})
	return is
}

func control(conn net.Conn, look func(fd int)) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { look(int(fd)) })
	}
}
