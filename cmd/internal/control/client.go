package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// Client calls the serve of one data directory, whose path it is.
type Client string

// Call sends in as JSON (nothing if it is nil) and reads the answer into out. Its error wraps ErrNotRunning when
// there is no serve, or tells what serve said.
func (c Client) Call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://postern"+path, &body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	transport := &http.Transport{DialContext: c.dial, DisableKeepAlives: true, MaxResponseHeaderBytes: maxBody}
	reply, err := transport.RoundTrip(r)
	if err != nil {
		return c.explain(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err != nil {
		return c.explain(err)
	}
	if reply.StatusCode != http.StatusOK {
		return problem(reply.Status, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read answer of postern serve: %w", err)
	}
	return nil
}

func (c Client) dial(ctx context.Context, _, _ string) (conn net.Conn, err error) {
	err = within(string(c), socketName, func(path string) error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// explain says what an error of the connection means for who called.
func (c Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("data directory %s: %w", string(c), ErrNotRunning)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data directory %s may not be used by this user; run as the user of postern serve, or as root", string(c))
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("postern serve went away before it answered; its log tells why")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("postern serve gave no answer within %v; its log tells what it is doing", longest)
	}
	return fmt.Errorf("ask postern serve: %w", err)
}
