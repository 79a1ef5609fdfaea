package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/show"
)

// tailPage is how many records are read at once while looking for the last ones.
const tailPage = 500

// tailOptions are tail's flags.
type tailOptions struct {
	filter audit.Filter
	addr   addrFlag
	after  int64
	lines  int
	json   bool
	follow bool
}

func newTail() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Watch records as they are made",
		Long:  "tail prints the last records of the audit log, and every new one as soon as it is on disk, until Ctrl-C.",
		Example: "  postern tail --user ada\n" +
			"  postern tail --ip 192.0.2.0/24 --lines 100\n" +
			"  postern tail --json --after 1042 | jq -r 'select(.verb == \"RETR\") | .uid'",
		GroupID: groupRead,
		Args:    noArguments,
	}
	var o tailOptions
	flags := cmd.Flags()
	flags.StringVar(&o.filter.User, "user", "", "only records of the user `NAME`")
	flags.Var(&o.addr, "ip", "only clients at this address or in this network")
	flags.IntVarP(&o.lines, "lines", "n", 10, "print the last `N` records first")
	flags.Int64Var(&o.after, "after", 0, "print all records after number `SEQ` first, instead of --lines")
	o.follow = true
	addToggle(flags, &o.follow, "follow", "f", "go on with new records; --follow=false ends at the newest")
	addToggle(flags, &o.json, "json", "", "print JSON Lines")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.lines < 0 || o.after < 0 {
			return usageError{fmt.Errorf("--lines and --after want a number from 0 on")}
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
		o.filter.Addr = o.addr.prefix
		last, err := r.LastSeq(cmd.Context())
		if err != nil {
			return quiet(cmd.Context(), fmt.Errorf("read audit log: %w", err))
		}
		noteAccess(cmd, c, 0)
		return tail(cmd, r, last, o)
	}
	return cmd
}

// tail prints what is there up to the record with number last, and then what comes. The record of this very access came
// after it: it is news to who follows, and is not in the way of who asks for what was there.
func tail(cmd *cobra.Command, r *audit.Reader, last int64, o tailOptions) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	print := newPrinter(out).Record
	if o.json {
		print = show.JSONLines[audit.Record](out)
	}
	after := o.after
	if !cmd.Flags().Changed("after") {
		if last == 0 {
			fmt.Fprint(cmd.ErrOrStderr(), noSessions)
		}
		var err error
		if after, err = beforeLast(ctx, r, last, o); err != nil {
			return quiet(ctx, fmt.Errorf("read audit log: %w", err))
		}
	}
	if !o.follow {
		return quiet(ctx, printUpTo(ctx, r, after, last, o.filter, print))
	}
	ctx, stop := whileRead(ctx, out)
	defer stop()
	for records, err := range r.Tail(ctx, after, o.filter) {
		if err != nil {
			return quiet(ctx, fmt.Errorf("read audit log: %w", err))
		}
		for _, record := range records {
			if err := print(record); err != nil {
				return err
			}
		}
	}
	return nil
}

// printUpTo prints the records after one number and up to another.
func printUpTo(ctx context.Context, r *audit.Reader, after, last int64, f audit.Filter, print func(audit.Record) error) error {
	return eachPage(ctx, r, after, last, f, func(records []audit.Record) error {
		for _, record := range records {
			if err := print(record); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachPage calls do with all records after one number and up to another, a page at a time.
func eachPage(ctx context.Context, r *audit.Reader, after, last int64, f audit.Filter, do func([]audit.Record) error) error {
	for {
		records, err := r.Records(ctx, after, tailPage, f)
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		end, _ := slices.BinarySearchFunc(records, last+1, func(r audit.Record, seq int64) int { return cmp.Compare(r.Seq, seq) })
		if err := do(records[:end]); err != nil {
			return err
		}
		if end < tailPage {
			return nil
		}
		after = records[end-1].Seq
	}
}

// beforeLast returns the number after which the last o.lines records stand that the filter chooses. It
// looks back in growing steps: a rare user's last records may be far back, a busy one's are near.
func beforeLast(ctx context.Context, r *audit.Reader, last int64, o tailOptions) (int64, error) {
	if o.lines == 0 {
		return last, nil
	}
	for span := int64(o.lines); ; span *= 8 {
		from := max(0, last-span)
		var numbers []int64 // of the last o.lines records found
		err := eachPage(ctx, r, from, last, o.filter, func(records []audit.Record) error {
			for _, record := range records {
				numbers = append(numbers, record.Seq)
			}
			numbers = numbers[max(0, len(numbers)-o.lines):]
			return nil
		})
		switch {
		case err != nil:
			return 0, err
		case len(numbers) == o.lines:
			return numbers[0] - 1, nil
		case from == 0:
			return 0, nil
		}
	}
}

// quiet drops the error that the end of ctx caused: Ctrl-C is how a person ends tail.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
