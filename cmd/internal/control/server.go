package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Claim is the right to a data directory, which one process has at a time.
type Claim struct {
	dir  string
	lock *os.File // the directory; locked
}

// Take claims the data directory dir, which must exist, until Close. Its error wraps ErrInUse when another process has it.
func Take(dir string) (*Claim, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &Claim{dir, lock}, nil
}

// Close gives the directory up. Servers in it are closed by then.
func (c *Claim) Close() error { return c.lock.Close() }

// Server is an open control socket.
type Server struct {
	socket string
	http   *http.Server
	cancel context.CancelFunc // ends the requests that are under way
	done   sync.WaitGroup
}

// Serve opens the control socket of the data directory and answers there with h until Close. A socket that a crash left
// behind is replaced.
func (c *Claim) Serve(h http.Handler) (*Server, error) {
	s := &Server{socket: filepath.Join(c.dir, socketName)}
	l, err := s.listen(c.dir)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.http = &http.Server{Handler: bounded(h), ReadHeaderTimeout: headerTime, WriteTimeout: longest, IdleTimeout: headerTime,
		MaxHeaderBytes: maxBody, BaseContext: func(net.Listener) context.Context { return ctx }}
	s.done.Go(func() { _ = s.http.Serve(l) }) // it ends with Close
	return s, nil
}

func lockDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	return d, nil
}

// listen makes the socket in a directory that nobody else may enter, so that there is no moment at which its mode
// is too wide, and then puts it in its place, over what may be there.
func (s *Server) listen(dir string) (l net.Listener, err error) {
	private := filepath.Join(dir, ".control")
	if err := errors.Join(os.RemoveAll(private), os.Mkdir(private, 0o700)); err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	err = within(private, socketName, func(path string) error {
		unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		unix.SetUnlinkOnClose(false) // it knows the path by which it was made, not the one it has
		l = unix
		return nil
	})
	if err != nil {
		return nil, err
	}
	made := filepath.Join(private, socketName)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, s.socket)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close takes no more requests, cancels those under way, waits for them, and removes the socket.
func (s *Server) Close() error {
	err := os.Remove(s.socket)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), bodyTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close() // a caller who does not read must not hold up the end
	}
	s.done.Wait()
	return err
}

// bounded reads each request's body before h sees it, within the bounds, and leaves the time of the answer to h and to
// the server: a read deadline that went on would cut the request short.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deadline := http.NewResponseController(w)
		_ = deadline.SetReadDeadline(time.Now().Add(bodyTime))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, failure{"read request: " + err.Error()})
			return
		}
		_ = deadline.SetReadDeadline(time.Time{})
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}
