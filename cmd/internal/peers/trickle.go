package peers

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

const (
	maxTrickles = 64               // connections at a time; further ones wait
	trickleIdle = 30 * time.Second // without an octet, after which a connection is cut
)

// trickle forwards connections octet by octet, the worst that a network may do to a program that expects lines.
type trickle struct {
	listener *net.TCPListener
	addr     string        // where to
	open     chan struct{} // one element per connection
}

// Trickle returns a host:port of loopback that forwards to addr until the test ends. In both directions each octet
// crosses in a segment of its own. A half-close is passed on.
func Trickle(t testing.TB, addr string) (through string) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &trickle{listener, addr, make(chan struct{}, maxTrickles)}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { f.serve(ctx) })
	t.Cleanup(func() {
		cancel()
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// serve accepts until the listener is closed, and returns when all connections have ended.
func (f *trickle) serve(ctx context.Context) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := f.listener.AcceptTCP()
		if err != nil {
			return
		}
		select {
		case f.open <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return
		}
		connections.Go(func() {
			f.forward(ctx, conn)
			<-f.open
		})
	}
}

// forward joins client with a connection of its own to addr until both sides have ended or ctx is cancelled.
func (f *trickle) forward(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", f.addr)
	if err != nil {
		return // the client sees a connection that ends
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	stop := context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { drip(server, client) })
	both.Go(func() { drip(client, server) })
	both.Wait()
}

// drip copies until src ends, and passes the end on: an error ends both directions.
func drip(dst, src *net.TCPConn) {
	if err := dripAll(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	dst.CloseWrite()
}

func dripAll(dst, src *net.TCPConn) error {
	queue, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 4<<10)
	for {
		src.SetReadDeadline(time.Now().Add(trickleIdle))
		n, err := src.Read(buf)
		for i := range n {
			deadline := time.Now().Add(trickleIdle)
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
