package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/show"
)

func newSessions() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "List sessions, the newest first",
		Example: "  postern sessions --live\n  postern sessions --user ada --since 24h\n  postern sessions --ip 2001:db8::/32 --json",
		GroupID: groupRead,
		Args:    noArguments,
	}
	var q audit.SessionQuery
	var addr addrFlag
	var since time.Duration
	var asJSON bool
	flags := cmd.Flags()
	flags.StringVar(&q.User, "user", "", "only sessions of the user `NAME`")
	flags.Var(&addr, "ip", "only clients at this address or in this network")
	addToggle(flags, &q.Live, "live", "", "only sessions that have not ended")
	flags.DurationVar(&since, "since", 0, "only sessions started within this `TIME`, such as 24h")
	flags.IntVar(&q.Limit, "limit", 50, fmt.Sprintf("at most `N` sessions, up to %d", audit.MaxSessions))
	addToggle(flags, &asJSON, "json", "", "print JSON Lines")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if q.Limit < 1 || q.Limit > audit.MaxSessions {
			return usageError{fmt.Errorf("--limit wants a number from 1 to %d", audit.MaxSessions)}
		}
		if since < 0 {
			return usageError{errors.New("--since wants a time such as 24h")}
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
		if q.Addr = addr.prefix; since > 0 {
			q.Since = time.Now().Add(-since)
		}
		sessions, err := r.Sessions(cmd.Context(), q)
		if err != nil {
			return quiet(cmd.Context(), fmt.Errorf("read sessions: %w", err))
		}
		noteAccess(cmd, c, int64(len(sessions)))
		return listSessions(cmd, r, q, sessions, asJSON)
	}
	return cmd
}

// listSessions prints the sessions that q chose.
func listSessions(cmd *cobra.Command, r *audit.Reader, q audit.SessionQuery, sessions []audit.Session, asJSON bool) error {
	if asJSON {
		print := show.JSONLines[audit.Session](cmd.OutOrStdout())
		for _, s := range sessions {
			if err := print(s); err != nil {
				return err
			}
		}
		return nil
	}
	if len(sessions) == 0 {
		return explainNoSessions(cmd, r)
	}
	if err := newPrinter(cmd.OutOrStdout()).Sessions(sessions, time.Now()); err != nil {
		return err
	}
	if len(sessions) == q.Limit {
		fmt.Fprintf(cmd.ErrOrStderr(), "These are the newest %d, there may be more: --limit, --since, --user and --ip choose.\n",
			q.Limit)
	}
	return nil
}

// explainNoSessions tells an empty log from a filter that chose nothing.
func explainNoSessions(cmd *cobra.Command, r *audit.Reader) error {
	any, err := r.Sessions(cmd.Context(), audit.SessionQuery{Limit: 1})
	if err != nil {
		return quiet(cmd.Context(), fmt.Errorf("read sessions: %w", err))
	}
	text := noSessions
	if len(any) > 0 {
		text = "No session is like that.\n"
	}
	_, err = fmt.Fprint(cmd.ErrOrStderr(), text)
	return err
}
