package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
)

func newRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the log",
		Long: "restore holds the backup FILE against itself and puts a copy of it in the place of the log. serve must not run. The log's\n" +
			"key must be there, or beside FILE with .key in place of .db. The log goes on with a record that says that it was\n" +
			"restored. A log that is there is not touched without --replace, which keeps it under another name.",
		Example: "  sudo systemctl stop postern\n" +
			"  sudo postern restore --replace /mnt/backup/audit-2026-11-26.db\n" +
			"  sudo systemctl start postern",
		GroupID: groupKeep,
		Args:    oneArgument("restore wants one FILE, which postern backup made"),
	}
	var replace bool
	addToggle(cmd.Flags(), &replace, "replace", "", "keep a log that is there under another name, and put FILE in its place")
	settings := addSettings(cmd, "data-dir", "audit-db", "audit-anchor-file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return restore(cmd, c, args[0], replace)
	}
	return cmd
}

func restore(cmd *cobra.Command, c *config.Config, from string, replace bool) error {
	if err := os.MkdirAll(filepath.Dir(c.AuditPath()), 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	bar := newBar(cmd.ErrOrStderr())
	r, err := audit.Restore(cmd.Context(), audit.RestoreOptions{From: from, Path: c.AuditPath(), Replace: replace, Report: bar.copying})
	bar.clear()
	if errors.Is(err, context.Canceled) {
		return errors.New("given up: everything is as it was")
	}
	if err != nil {
		return fmt.Errorf("restore the log: %w", err)
	}
	return printRestored(cmd, c, r)
}

func printRestored(cmd *cobra.Command, c *config.Config, r *audit.Restored) error {
	p := &verdictText{w: cmd.OutOrStdout()}
	p.line("%s is restored, and goes on after record %s, which says so.", r.Path, number(r.Verdict.Last+1))
	if r.KeyFrom != "" {
		p.line("  key       taken from %s", r.KeyFrom)
	}
	for _, name := range r.Kept {
		p.line("  kept      %s", name)
	}
	if r.Behind > r.Verdict.Last {
		p.line("  lost      %s records, %s to %s, are in the log that it replaced only", number(r.Behind-r.Verdict.Last), number(r.Verdict.Last+1), number(r.Behind))
	}
	warn := &verdictText{w: cmd.ErrOrStderr()}
	behind, err := behindAnchor(c, r)
	switch {
	case err != nil:
		warn.line("The anchors could not be compared: %v", err)
	case behind > 0:
		warn.line("The anchor %s has a checkpoint of %s records of this log: the copy is behind it, and so will the verification say.", c.AnchorFile, number(behind))
	}
	warn.line("Anchors and witnesses that have seen newer records will say that history was rewritten, which is so: tell those who keep them.")
	return errors.Join(p.err, warn.err)
}

// behindAnchor returns how many records the newest checkpoint in the anchor file vouches for, if that are more than were restored.
func behindAnchor(c *config.Config, r *audit.Restored) (int64, error) {
	if c.AnchorFile == "" {
		return 0, nil
	}
	newest, err := audit.NewestAnchor(c.AnchorFile, r.Verdict.Origin)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil || newest <= r.Verdict.Last {
		return 0, err
	}
	return newest, nil
}
