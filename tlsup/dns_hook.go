package tlsup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// hookTimeout bounds one run of a hook.
	hookTimeout = 2 * time.Minute
	// hookGrace is how long a hook's children may hold its output open when it is gone.
	hookGrace = 2 * time.Second
	// maxHookOutput bounds what of a hook's output is kept, in octets.
	maxHookOutput = 4096
)

// dnsHook changes records through a program of the operator's, run as: HOOK present|cleanup NAME VALUE.
type dnsHook struct {
	path    string
	timeout time.Duration
}

func newDNSHook(path string) (*dnsHook, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("%w: DNS hook: %w; name a program that this user may run", ErrConfig, err)
	}
	return &dnsHook{path: found, timeout: hookTimeout}, nil
}

func (h *dnsHook) present(ctx context.Context, name, value string) error {
	return h.run(ctx, "present", name, value)
}

func (h *dnsHook) cleanup(ctx context.Context, name, value string) error {
	return h.run(ctx, "cleanup", name, value)
}

// run waits for one run, and tells what the program said if it failed.
func (h *dnsHook) run(ctx context.Context, action, name, value string) error {
	bounded, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	var said headWriter
	cmd := exec.CommandContext(bounded, h.path, action, name, value)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &said, hookGrace
	cmd.Env = hookEnvironment(os.Environ())
	err := cmd.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		return told("DNS hook %s %s %s was stopped after %v; mend it: %s", h.path, action, name, h.timeout, said.line())
	}
	return told("DNS hook %s %s %s: %w; mend it: %s", h.path, action, name, err, said.line())
}

// hookEnvironment leaves out our own settings: some hold secrets that are none of the hook's business.
func hookEnvironment(environ []string) (out []string) {
	for _, v := range environ {
		if !strings.HasPrefix(v, "POSTERN_") {
			out = append(out, v)
		}
	}
	return out
}

// headWriter keeps the first octets of what is written, and swallows the rest. It is written to by one goroutine.
type headWriter struct{ b []byte }

// Write implements io.Writer.
func (w *headWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), maxHookOutput-len(w.b))]...)
	return len(p), nil
}

// line is what was kept, as one line.
func (w *headWriter) line() string {
	if s := oneLine(string(w.b)); s != "" {
		return "it says: " + s
	}
	return "it says nothing"
}
