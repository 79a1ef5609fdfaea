package peers

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

const (
	maxCarried  = 64               // connections at a time; further ones wait
	carriedIdle = 30 * time.Second // without an octet, after which a connection is cut
)

// network forwards connections. Each direction is carried by a function that copies until src ends.
type network struct {
	listener *net.TCPListener
	addr     string        // where to
	open     chan struct{} // one element per connection
	up, down func(dst, src *net.TCPConn) error
}

// forward returns a host:port of loopback that forwards to addr until the test ends. A half-close is passed on.
func forward(t testing.TB, addr string, up, down func(dst, src *net.TCPConn) error) (through string) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n := &network{listener, addr, make(chan struct{}, maxCarried), up, down}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { n.serve(ctx) })
	t.Cleanup(func() {
		cancel()
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// serve accepts until the listener is closed, and returns when all connections have ended.
func (n *network) serve(ctx context.Context) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := n.listener.AcceptTCP()
		if err != nil {
			return
		}
		select {
		case n.open <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return
		}
		connections.Go(func() {
			n.join(ctx, conn)
			<-n.open
		})
	}
}

// join gives client a connection of its own to addr until both sides have ended or ctx is cancelled.
func (n *network) join(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", n.addr)
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
	both.Go(func() { carry(server, client, n.up) })
	both.Go(func() { carry(client, server, n.down) })
	both.Wait()
}

// carry copies until src ends, and passes the end on: an error ends both directions.
func carry(dst, src *net.TCPConn, copy func(dst, src *net.TCPConn) error) {
	if err := copy(dst, src); err != nil {
		dst.Close()
		src.Close()
		return
	}
	dst.CloseWrite()
}
