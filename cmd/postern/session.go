package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/show"
	"postern/proxy"
)

func newSession() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "session ID",
		Short:   "Print the transcript of one session",
		Long:    "session prints what is known of one session and its dialogue, with secrets left out. postern sessions lists IDs.",
		Example: "  postern session 01h2j3k4m5n6p\n  postern session 01h2j3k4m5n6p --json",
		GroupID: groupRead,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("session wants one ID; postern sessions lists them")}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var asJSON bool
	addToggle(cmd.Flags(), &asJSON, "json", "", "print the records as JSON Lines")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := proxy.ParseSessionID(args[0])
		if err != nil {
			return usageError{err}
		}
		c, err := settings()
		if err != nil {
			return err
		}
		r, err := openReader(c)
		if err != nil {
			return err
		}
		defer r.Close()
		noteAccess(cmd, c, 0)
		return transcribe(cmd, r, id, asJSON)
	}
	return cmd
}

func transcribe(cmd *cobra.Command, r *audit.Reader, id proxy.SessionID, asJSON bool) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	session, err := r.Session(ctx, id)
	if errors.Is(err, audit.ErrNotFound) {
		return fmt.Errorf("no session %s in this log: postern sessions lists them", id)
	}
	if err != nil {
		return quiet(ctx, fmt.Errorf("read session: %w", err))
	}
	p := newPrinter(out)
	print := p.Entry
	if asJSON {
		print = show.JSONLines[audit.Record](out)
	} else if err := p.Begin(session, time.Now()); err != nil {
		return err
	}
	for after := int64(0); ; {
		records, err := r.Transcript(ctx, id, after, tailPage)
		if err != nil {
			return quiet(ctx, fmt.Errorf("read transcript: %w", err))
		}
		for _, record := range records {
			if err := print(record); err != nil {
				return err
			}
			after = record.Seq
		}
		if len(records) < tailPage {
			return nil
		}
	}
}
