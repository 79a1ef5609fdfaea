package peers

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Trickle returns a host:port of loopback that forwards to addr until the test ends, octet by octet, the worst that a
// network may do to a program that expects lines: in both directions each octet crosses in a segment of its own. A
// half-close is passed on.
func Trickle(t testing.TB, addr string) (through string) {
	t.Helper()
	return forward(t, addr, drip, drip)
}

// drip copies octet by octet until src ends.
func drip(dst, src *net.TCPConn) error {
	queue, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 4<<10)
	for {
		src.SetReadDeadline(time.Now().Add(carriedIdle))
		n, err := src.Read(buf)
		for i := range n {
			deadline := time.Now().Add(carriedIdle)
			dst.SetWriteDeadline(deadline)
			if _, err := dst.Write(buf[i : i+1]); err != nil { // at once: Go sets TCP_NODELAY
				return err
			}
			if err := waitSent(queue, deadline); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// waitSent waits until what was written has left: as long as an octet is queued, because the congestion window is
// full, the kernel joins the next one to its segment.
func waitSent(queue syscall.RawConn, deadline time.Time) error {
	for {
		n, err := unsent(queue)
		switch {
		case err != nil:
			return err
		case n == 0:
			return nil
		case time.Now().After(deadline):
			return os.ErrDeadlineExceeded
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// unsent returns how many octets have not left: Linux's SIOCOUTQNSD, which package syscall does not name.
func unsent(queue syscall.RawConn) (n int32, err error) {
	const siocoutqnsd = 0x894b
	var errno syscall.Errno
	err = queue.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, siocoutqnsd, uintptr(unsafe.Pointer(&n)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return n, err
}
