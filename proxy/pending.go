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

// waiting reports whether octets have come on conn that nobody has read.
func waiting(conn net.Conn) (has bool) {
	if w, ok := conn.(waiter); ok {
		return w.Waiting()
	}
	control(conn, func(fd int) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		has = err == nil && n > 0
	})
	return has
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

// awaitOctets returns when octets or the end have come on conn, and reports whether they have; false means that conn's
// deadline passed. On a connection that cannot tell it returns at once.
func awaitOctets(conn net.Conn) (have bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN && err != syscall.EINTR
	})
	return err == nil
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
