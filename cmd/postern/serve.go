package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"postern/cmd/internal/config"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Relay mail clients to a POP3 server and record what passes",
		Long: "serve listens for mail clients on POP3S and on POP3 with STLS, relays them to --backend, and records\n" +
			"every command before its reply is complete. SIGTERM lets running commands finish and ends it.",
		Example: "  postern serve --backend mail.internal:110 --acme-domain pop.example.org\n" +
			"  postern serve --backend 127.0.0.1:110 --tls-cert chain.pem --tls-key key.pem --listen-pop3 \"\"\n" +
			"  postern serve --backend mail:110 --tls-local --data-dir ./data --listen-pop3s :1995 --listen-pop3 :1110",
		GroupID: groupRun,
		Args:    noArguments,
	}
	settings := addSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if problems := append(asProblems(err), check(c)...); len(problems) > 0 {
			return problems
		}
		return serveUntil(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// serveUntil runs a daemon until ctx ends or the relay fails.
func serveUntil(ctx context.Context, c *config.Config, stdout, stderr io.Writer) error {
	log := newLogger(c, stderr)
	if err := harden(); err != nil {
		log.Warn("core dumps stay on: a crash could write passwords to disk", "err", err)
	}
	d, err := startDaemon(ctx, c, stdout, log, nil)
	if err != nil {
		return quiet(ctx, err)
	}
	log.Info("ready", "version", version(), "backend", c.Backend, "durability", c.Durability, "audit_db", c.AuditPath())
	if root := d.certs.RootFile(); c.TLSLocal && root != "" {
		log.Info("clients must trust the local authority", "root", root)
	}
	var failure error
	select {
	case <-ctx.Done():
		log.Info("stopping: running commands may finish", "at_most", drainTime)
	case failure = <-d.failed:
	}
	err = errors.Join(failure, d.stop(context.WithoutCancel(ctx)))
	log.Info("stopped")
	return err
}

// harden keeps secrets in memory off the disk and files private. A limit to the size of files fails a write, which the
// log can tell of, and does not end the program.
func harden() error {
	signal.Ignore(syscall.SIGXFSZ)
	syscall.Umask(0o077)
	return disableCoreDumps()
}

func newLogger(c *config.Config, w io.Writer) *slog.Logger {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	options := &slog.HandlerOptions{Level: levels[c.LogLevel]}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
