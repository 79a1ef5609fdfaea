// Package control lets the program's other commands speak with a serve that is running: HTTP with JSON over a
// Unix socket in the data directory.
//
// Take claims the directory, Claim.Serve opens the socket for a Handler, usually a mux of JSON handlers; Client calls it.
// Who may use the socket is decided by the file system alone: its mode is 0600, so it takes the user of serve, or root. One
// serve has a data directory: the lock on the directory, which the kernel drops with its owner, tells a running one from
// what a crash left behind.
//
// Every request has a bound on its size and its time. The package knows nothing of what is asked.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// socketName is the socket's name in the data directory.
const socketName = "control.sock"

// Bounds of one request.
const (
	headerTime = 5 * time.Second
	bodyTime   = 10 * time.Second
	// longest is for an answer that takes an order of a certificate: the authority's checks, and the wait for DNS.
	longest   = 10 * time.Minute
	maxBody   = 64 << 10 // octets of a request
	maxAnswer = 8 << 20  // octets of an answer
)

var (
	// ErrNotRunning is wrapped by Client's errors when nobody serves the data directory.
	ErrNotRunning = errors.New("no postern serve runs there")
	// ErrInUse is wrapped by Take's error when another process serves the data directory.
	ErrInUse = errors.New("in use by another postern: stop it, or give this one a data directory of its own")
)

// failure is the body of an answer that tells an error.
type failure struct {
	Error string `json:"error"`
}

// JSON makes a handler of do. It reads In from a body, of which an empty one is the zero In, and answers with
// Out, or with do's error as one text.
func JSON[In, Out any](do func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		body, err := io.ReadAll(r.Body)
		if err == nil && len(body) > 0 {
			err = json.Unmarshal(body, &in)
		}
		if err != nil {
			answer(w, http.StatusBadRequest, failure{"read request: " + err.Error()})
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			answer(w, http.StatusUnprocessableEntity, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, out)
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error here is a caller that left
}

// within opens dir and calls do with a path of the file called name in it that is short enough for a socket's
// address: that has room for 108 octets, 104 on some systems, and data directories have no such bound. The
// descriptor is a way around, where the system has /proc.
func within(dir, name string, do func(path string) error) error {
	const room = 100
	path := filepath.Join(dir, name)
	if len(path) <= room {
		return do(path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), name))
}

// problem turns an answer that is none into the error it tells.
func problem(status string, body []byte) error {
	var f failure
	if json.Unmarshal(body, &f) != nil || f.Error == "" {
		return fmt.Errorf("postern serve answered %s", status)
	}
	return errors.New(f.Error)
}
