// Command postern is a POP3 auditing proxy: it puts modern TLS in front of a mail server that has none, and
// keeps a record of everything that passed.
//
// Each subcommand has a file of its own. Settings come from postern/cmd/internal/config, what is printed
// for people from postern/cmd/internal/show. daemon.go wires the packages together, and starts and stops
// them in the right order; serve and demo both run a daemon. Nothing here exits but main, so that tests
// run the whole program in-process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"postern/cmd/internal/config"
)

func main() {
	// A reader that went away is an error to handle, not a signal that ends a mail server.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "postern:", err)
	}
	os.Exit(exitCode(err))
}

// run is the whole program. It ends when ctx does, which is no error.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := newRoot()
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletion(root)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, syscall.EPIPE) {
		return nil // as when the output is piped into head
	}
	return err
}

// usageError is a mistake in how postern was called: it exits with 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitCode is 2 for what the caller has to mend, 1 for what went wrong while running.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	if _, ok := errors.AsType[config.Problems](err); ok {
		return 2
	}
	return 1
}
