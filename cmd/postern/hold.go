package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/show"
)

func newHold() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Keep records from retention: legal holds",
		Long: "A legal hold keeps all records of a user, of a period, or of a user within a period, whole, whatever the rules of\n" +
			"retention say, until it is released. Each change is on record, with who made it and why.",
		Example: "  sudo postern hold add --user ada --reason \"case 2026-17\"\n  sudo postern hold list\n  sudo postern hold release 1042",
		GroupID: groupKeep,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHoldAdd(), newHoldList(), newHoldRelease())
	return cmd
}

// momentFlag is a date or a time as a flag.
type momentFlag struct{ at time.Time }

func (m *momentFlag) String() string {
	if m.at.IsZero() {
		return ""
	}
	return m.at.Format(time.RFC3339)
}

// Set takes 2026-01-31, which is its beginning in UTC, or 2026-01-31T12:00:00Z.
func (m *momentFlag) Set(text string) (err error) {
	if m.at, err = time.Parse(time.DateOnly, text); err == nil {
		return nil
	}
	if m.at, err = time.Parse(time.RFC3339, text); err != nil {
		return errors.New("want a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z")
	}
	m.at = m.at.UTC()
	return nil
}

func (m *momentFlag) Type() string { return "TIME" }

func newHoldAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Put a hold in force",
		Long: "add holds every session in which the user logged in or tried to, and every session that lasted into the period. What\n" +
			"retention took before is gone; a user whose name it took is held by the pseudonym that stands in its place. The name is\n" +
			"on record for good: a pseudonym (~...) may be given in its place.",
		Example: "  sudo postern hold add --user ada --reason \"case 2026-17\"\n" +
			"  sudo postern hold add --since 2026-01-01 --until 2026-02-01 --reason \"breach of January\"",
		Args: noArguments,
	}
	var user, reason string
	var since, until momentFlag
	flags := cmd.Flags()
	flags.StringVar(&user, "user", "", "hold what the user `NAME` did")
	flags.Var(&since, "since", "hold what happened from then on")
	flags.Var(&until, "until", "hold what happened before, that moment left out")
	flags.StringVar(&reason, "reason", "", "why, and when it may be released: `TEXT` (required)")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h := audit.Hold{Scope: audit.Scope{User: user, Since: since.at, Until: until.at}, Reason: reason}
		if _, err := h.AddEvent(0); err != nil {
			return usageError{fmt.Errorf("%w\n%s --help tells how", err, cmd.CommandPath())}
		}
		c, err := settings()
		if err != nil {
			return err
		}
		return addHold(cmd, c, h)
	}
	return cmd
}

// holding asks serve for a hold, and releasing for the end of one.
type (
	holding struct {
		question
		Hold audit.Hold `json:"hold"`
	}
	releasing struct {
		question
		ID     int64  `json:"id"`
		Reason string `json:"reason"`
	}
)

func addHold(cmd *cobra.Command, c *config.Config, h audit.Hold) error {
	q, err := aboutLog(c)
	if err != nil {
		return err
	}
	h.By = q.By
	added, err := askServe[audit.Hold](cmd.Context(), c, "/holds", q.Log, holding{q, h})
	if errors.Is(err, errNobody) {
		added, err = addResting(cmd.Context(), c, h)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "Hold %d is in force: %s\n", added.ID, show.Escape(added.Scope.String()))
	return err
}

func (d *daemon) addHold(ctx context.Context, h holding) (audit.Hold, error) {
	h.Hold.By = cut(h.By)
	return d.audit.AddHold(ctx, h.Hold)
}

// addResting adds a hold to a log that no serve has open.
func addResting(ctx context.Context, c *config.Config, h audit.Hold) (audit.Hold, error) {
	r, err := openReader(c)
	if err != nil {
		return h, err
	}
	defer r.Close()
	holds, err := r.Holds(ctx)
	if err != nil {
		return h, err
	}
	ev, err := h.AddEvent(len(holds))
	if err == nil {
		err = audit.Append(ctx, audit.Options{Path: c.AuditPath()}, ev)
	}
	if err != nil {
		return h, err
	}
	if holds, err = r.Holds(ctx); err != nil || len(holds) == 0 {
		return h, err
	}
	return holds[len(holds)-1], nil
}

func newHoldList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the holds in force",
		Example: "  sudo postern hold list\n  sudo postern hold list --json",
		Args:    noArguments,
	}
	var asJSON bool
	addToggle(cmd.Flags(), &asJSON, "json", "", "print JSON Lines")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return listHolds(cmd, c, asJSON)
	}
	return cmd
}

func listHolds(cmd *cobra.Command, c *config.Config, asJSON bool) error {
	r, err := openReader(c)
	if err != nil {
		return err
	}
	defer r.Close()
	holds, err := r.Holds(cmd.Context())
	if err != nil {
		return quiet(cmd.Context(), err)
	}
	noteAccess(cmd, c, int64(len(holds)))
	if asJSON {
		print := show.JSONLines[audit.Hold](cmd.OutOrStdout())
		for _, h := range holds {
			if err := print(h); err != nil {
				return err
			}
		}
		return nil
	}
	if len(holds) == 0 {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), "No hold is in force: postern hold add makes one.")
		return err
	}
	return newPrinter(cmd.OutOrStdout()).Holds(holds)
}

func newHoldRelease() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release ID",
		Short: "End a hold",
		Long: "release ends the hold with that number. What it alone had kept is deleted or thinned when the rules run next, a year's\n" +
			"records at once perhaps: postern retention --dry-run tells.",
		Example: "  sudo postern hold release 1042 --reason \"case closed\"",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("hold release wants one ID; postern hold list tells them")}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var reason string
	cmd.Flags().StringVar(&reason, "reason", "", "why: `TEXT`")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || id <= 0 {
			return usageError{fmt.Errorf("%.40q is not the number of a hold; postern hold list tells them", args[0])}
		}
		c, err := settings()
		if err != nil {
			return err
		}
		return releaseHold(cmd, c, id, reason)
	}
	return cmd
}

func releaseHold(cmd *cobra.Command, c *config.Config, id int64, reason string) error {
	q, err := aboutLog(c)
	if err != nil {
		return err
	}
	h, err := askServe[audit.Hold](cmd.Context(), c, "/holds/release", q.Log, releasing{q, id, reason})
	if errors.Is(err, errNobody) {
		h, err = releaseResting(cmd.Context(), c, id, q.By, reason)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "Hold %d is released: %s\n", h.ID, show.Escape(h.Scope.String()))
	return err
}

func (d *daemon) releaseHold(ctx context.Context, r releasing) (audit.Hold, error) {
	return d.audit.ReleaseHold(ctx, r.ID, cut(r.By), r.Reason)
}

// releaseResting releases a hold of a log that no serve has open.
func releaseResting(ctx context.Context, c *config.Config, id int64, by, reason string) (h audit.Hold, err error) {
	r, err := openReader(c)
	if err != nil {
		return h, err
	}
	defer r.Close()
	if h, err = r.Hold(ctx, id); err != nil {
		return h, err
	}
	ev, err := h.ReleaseEvent(by, reason)
	if err == nil {
		err = audit.Append(ctx, audit.Options{Path: c.AuditPath()}, ev)
	}
	return h, err
}
