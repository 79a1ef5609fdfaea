package peers

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Tap is a wire that keeps what clients send over it.
type Tap struct {
	Addr string // host:port of loopback that leads to the server

	mu   sync.Mutex
	sent []*[]string // by connection, in the pieces that came
}

// mostTapped bounds what is kept of one connection.
const mostTapped = 64 << 10

// NewTap leads to addr until the test ends.
func NewTap(t testing.TB, addr string) *Tap {
	t.Helper()
	tap := &Tap{}
	tap.Addr = forward(t, addr, tap.copy, func(dst, src *net.TCPConn) error {
		_, err := io.Copy(dst, src)
		return err
	})
	return tap
}

// Sent is what each connection has brought so far, in the order of their beginning. Nothing reaches the server that
// is not in it, but for what follows the first 64 KiB.
func (w *Tap) Sent() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sent := range w.sent {
		all = append(all, strings.Join(*sent, ""))
	}
	return all
}

// Pieces is what all connections have brought, as it came: what was written at once is in one piece, unless it is long, and
// what was written while the tap was busy with what came before may be joined to it.
func (w *Tap) Pieces() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sent := range w.sent {
		all = append(all, *sent...)
	}
	return all
}

func (w *Tap) copy(dst, src *net.TCPConn) error {
	sent := new([]string)
	w.mu.Lock()
	w.sent = append(w.sent, sent)
	w.mu.Unlock()
	_, err := io.Copy(dst, io.TeeReader(src, &tapped{w, sent, mostTapped}))
	return err
}

// tapped keeps what is written to it.
type tapped struct {
	tap  *Tap
	sent *[]string
	room int
}

func (k *tapped) Write(p []byte) (int, error) {
	k.tap.mu.Lock()
	defer k.tap.mu.Unlock()
	kept := p[:min(k.room, len(p))]
	k.room -= len(kept)
	*k.sent = append(*k.sent, string(kept))
	return len(p), nil
}
