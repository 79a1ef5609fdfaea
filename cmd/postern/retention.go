package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
	"postern/cmd/internal/show"
)

// retentionSettings are the settings of the commands that know the rules.
func retentionSettings(cmd *cobra.Command) func() (*config.Config, error) {
	return addSettings(cmd, "data-dir", "audit-db", "retain-sessions", "retain-messages", "retain-addresses", "retain-users", "retain-size")
}

func newRetention() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Tell what the audit log forgets, and when",
		Long: "retention prints the rules in force, those of the running serve or else those of the settings given, and how they\n" +
			"fare: when they last ran and run next, how large the log is, and how far back it goes. --dry-run tells what a run would\n" +
			"take now, to the record, and changes nothing.",
		Example: "  sudo postern retention\n  sudo postern retention --dry-run\n  sudo postern retention run",
		GroupID: groupKeep,
		Args:    noArguments,
	}
	var dry, asJSON bool
	addToggle(cmd.Flags(), &dry, "dry-run", "", "tell what a run would take now")
	addToggle(cmd.Flags(), &asJSON, "json", "", "print JSON Lines")
	settings := retentionSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		if dry {
			return planRetention(cmd, c, asJSON)
		}
		return tellRetention(cmd, c, asJSON)
	}
	cmd.AddCommand(newRetentionRun())
	return cmd
}

func newRetentionRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the rules now",
		Long: "run deletes and thins what the rules say, without waiting for serve to do it at its time. A running serve does it, by\n" +
			"its own rules, while mail goes on; without one the settings given hold.",
		Example: "  sudo postern retention run\n  sudo -u postern postern retention run --retain-sessions 730d",
		Args:    noArguments,
	}
	var asJSON bool
	addToggle(cmd.Flags(), &asJSON, "json", "", "print JSON Lines")
	settings := retentionSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return runRetention(cmd, c, asJSON)
	}
	return cmd
}

// retained is how the rules fare, as a command prints it.
type retained struct {
	Serving bool `json:"serving"` // a serve runs them
	audit.Retention
}

func tellRetention(cmd *cobra.Command, c *config.Config, asJSON bool) error {
	q, err := aboutLog(c)
	if err != nil {
		return err
	}
	r := retained{Serving: true}
	r.Retention, err = askServe[audit.Retention](cmd.Context(), c, "/retention", q.Log, q)
	if errors.Is(err, errNobody) {
		r.Serving = false
		r.Retention, err = restingRetention(cmd.Context(), c)
	} else if err == nil {
		tellWhoseRules(cmd)
	}
	if err != nil {
		return quiet(cmd.Context(), err)
	}
	if asJSON {
		return show.JSONLines[retained](cmd.OutOrStdout())(r)
	}
	return newPrinter(cmd.OutOrStdout()).Retention(r.Retention, r.Serving, c.AuditPath())
}

// tellWhoseRules keeps whoever typed rules from taking what a running serve does by its own for what they would do.
func tellWhoseRules(cmd *cobra.Command) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, "retain-") {
			fmt.Fprintf(cmd.ErrOrStderr(), "postern: --%s has no effect here: a serve runs, and this is by its rules\n", f.Name)
		}
	})
}

// restingRetention is how the rules of the settings fare while no serve runs.
func restingRetention(ctx context.Context, c *config.Config) (s audit.Retention, err error) {
	r, err := openReader(c)
	if err != nil {
		return s, err
	}
	defer r.Close()
	s = audit.Retention{Rules: retention(c), Taken: []audit.Taken{}}
	if s.Oldest, err = r.Oldest(ctx); err != nil {
		return s, err
	}
	holds, err := r.Holds(ctx)
	if err != nil {
		return s, err
	}
	info, err := os.Stat(c.AuditPath())
	if err != nil {
		return s, fmt.Errorf("look at the audit log: %w", err)
	}
	s.Holds, s.Octets = len(holds), info.Size()
	return s, nil
}

func planRetention(cmd *cobra.Command, c *config.Config, asJSON bool) error {
	q, err := aboutLog(c)
	if err != nil {
		return err
	}
	taken, err := askServe[[]audit.Taken](cmd.Context(), c, "/retention/plan", q.Log, q)
	if errors.Is(err, errNobody) {
		taken, err = planResting(cmd.Context(), c)
	} else if err == nil {
		tellWhoseRules(cmd)
	}
	if err != nil {
		return quiet(cmd.Context(), err)
	}
	noteAccess(cmd, c, 0)
	return printTaken(cmd, taken, "A run would take nothing now.\n", asJSON)
}

func planResting(ctx context.Context, c *config.Config) ([]audit.Taken, error) {
	r, err := openReader(c)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Plan(ctx, retention(c), audit.KeyPath(c.AuditPath()), time.Now())
}

func runRetention(cmd *cobra.Command, c *config.Config, asJSON bool) error {
	q, err := aboutLog(c)
	if err != nil {
		return err
	}
	taken, err := askServe[[]audit.Taken](cmd.Context(), c, "/retention/run", q.Log, q)
	if errors.Is(err, errNobody) {
		taken, err = runResting(cmd.Context(), c, q.By)
	} else if err == nil {
		tellWhoseRules(cmd)
	}
	if err != nil {
		return quiet(cmd.Context(), err)
	}
	return printTaken(cmd, taken, "Nothing is old enough.\n", asJSON)
}

// runResting opens the log, which no serve has open, and runs the rules of the settings.
func runResting(ctx context.Context, c *config.Config, by string) (taken []audit.Taken, err error) {
	if r, err := openReader(c); err != nil {
		return nil, err // a log that is not there is not made for this
	} else if err := r.Close(); err != nil {
		return nil, fmt.Errorf("close audit log: %w", err)
	}
	log, err := audit.Open(ctx, audit.Options{Path: c.AuditPath(), Version: version(), User: by, Retention: retention(c)})
	if err != nil {
		return nil, err
	}
	taken, err = log.Retain(ctx, by)
	return taken, errors.Join(wrap("run retention", err), wrap("close audit log", log.Close()))
}

// printTaken prints what rules take, or would take.
func printTaken(cmd *cobra.Command, taken []audit.Taken, nothing string, asJSON bool) error {
	if asJSON {
		print := show.JSONLines[audit.Taken](cmd.OutOrStdout())
		for _, t := range taken {
			if err := print(t); err != nil {
				return err
			}
		}
		return nil
	}
	something := false
	for _, t := range taken {
		something = something || t.Records+t.Sessions+t.Held > 0
	}
	switch {
	case len(taken) == 0:
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "No rule is in force: the log keeps everything. --retain-sessions and its kin set some.")
		return err
	case !something:
		_, err := fmt.Fprint(cmd.OutOrStdout(), nothing)
		return err
	}
	return newPrinter(cmd.OutOrStdout()).Taken(taken)
}

// addRetention adds what the commands above, and those of holds, ask of a running daemon.
func (d *daemon) addRetention(mux *http.ServeMux) {
	mux.Handle("POST /retention", control.JSON(answerAbout(d, func(ctx context.Context, _ question) (audit.Retention, error) {
		return d.audit.Retention(ctx), nil
	})))
	mux.Handle("POST /retention/plan", control.JSON(answerAbout(d, func(ctx context.Context, _ question) ([]audit.Taken, error) {
		return d.audit.Plan(ctx)
	})))
	mux.Handle("POST /retention/run", control.JSON(answerAbout(d, func(ctx context.Context, q question) ([]audit.Taken, error) {
		return d.audit.Retain(ctx, cut(q.By))
	})))
	mux.Handle("POST /holds", control.JSON(answerAbout(d, d.addHold)))
	mux.Handle("POST /holds/release", control.JSON(answerAbout(d, d.releaseHold)))
}
