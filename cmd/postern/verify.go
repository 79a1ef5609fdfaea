package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/show"
)

// verifyOptions are verify's flags.
type verifyOptions struct {
	full    bool
	json    bool
	keys    []string
	anchors []string
}

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that nobody changed the log",
		Long: "verify hashes every record anew and holds the log against its signed checkpoints, against the checkpoint that the\n" +
			"last good verification left beside it, and against those that were kept elsewhere. It names the first row that was\n" +
			"altered, removed, inserted or reordered, and exits with 1. It goes on where the last good verification ended;\n" +
			"--full begins with the first record. The log may be written meanwhile, and a copy can be verified anywhere.\n\n" +
			"Who can write the database, its key and the checkpoint beside it can write another history. --key and --anchor,\n" +
			"kept out of reach of this machine, show that.",
		Example: "  postern verify\n" +
			"  postern verify --full --anchor /mnt/worm/postern.anchors --key postern.pub\n" +
			"  postern verify --full --audit-db copy.db --json | jq '.findings[0]'",
		GroupID: groupProve,
		Args:    noArguments,
	}
	var o verifyOptions
	flags := cmd.Flags()
	addToggle(flags, &o.full, "full", "", "begin with the first record, and check the pages of the database")
	flags.StringArrayVar(&o.anchors, "anchor", nil, "`FILE` with checkpoints that were kept elsewhere (repeatable)")
	flags.StringArrayVar(&o.keys, "key", nil, "verifier `KEY`, or a file with it, that must be the log's, or one that vouches for it (repeatable)")
	addToggle(flags, &o.json, "json", "", "print the result as JSON")
	settings := addSettings(cmd, "data-dir", "audit-db", "audit-anchor-file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return verify(cmd, c, o)
	}
	return cmd
}

func verify(cmd *cobra.Command, c *config.Config, o verifyOptions) error {
	if err := checkReadable(c.AuditPath()); err != nil {
		return err
	}
	options := audit.VerifyOptions{Path: c.AuditPath(), Full: o.full, Keep: true, Anchors: o.anchors}
	var err error
	if options.Keys, err = readKeys(o.keys); err != nil {
		return err
	}
	if file := c.AnchorFile; file != "" && !slices.Contains(options.Anchors, file) {
		if _, err := os.Stat(file); err == nil {
			options.Anchors = append(options.Anchors, file)
		} else {
			fmt.Fprintf(cmd.ErrOrStderr(), "The anchors of --audit-anchor-file cannot be compared: %v\n", err)
		}
	}
	progress := newBar(cmd.ErrOrStderr())
	if progress != nil {
		options.Report = progress.draw
	}
	v, err := audit.Verify(cmd.Context(), options)
	progress.clear()
	if cmd.Context().Err() != nil {
		return fmt.Errorf("given up before the end: nothing is known of the log")
	}
	if err != nil {
		return err
	}
	if v.OK {
		noteAccess(cmd, c, 0) // after it was verified; a log that is not as it was written is evidence, to which nothing is added
	}
	err = printVerdict(cmd.OutOrStdout(), v, o.json)
	if v.OK {
		return err
	}
	// Also when it could not be printed: that a reader went away is no error.
	return fmt.Errorf("the log is not as it was written: %s", show.Escape(v.Findings[0].String()))
}

func printVerdict(w io.Writer, v *audit.Verdict, asJSON bool) error {
	if asJSON {
		return show.JSONLines[*audit.Verdict](w)(v)
	}
	p := &verdictText{w: w}
	if v.OK {
		p.line("%s is as it was written.", v.Path)
	} else {
		p.line("%s is NOT as it was written.", v.Path)
	}
	p.looked(v)
	for _, note := range v.Notes {
		p.line("  note         %s", note)
	}
	for _, f := range v.Findings {
		p.line("  %s", f)
	}
	if more := v.Count - int64(len(v.Findings)); more > 0 {
		p.line("  and %s more", number(more))
	}
	return p.err
}

// verdictText prints lines until one cannot be. What is in a log is text that anybody may have chosen.
type verdictText struct {
	w   io.Writer
	err error
}

func (p *verdictText) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, show.Escape(fmt.Sprintf(format, args...)))
	}
}

// looked tells what the verdict rests on.
func (p *verdictText) looked(v *audit.Verdict) {
	from := "from the first on"
	if v.First > 1 {
		from = "from " + number(v.First) + " on, where the last good verification ended; --full looks at all"
	}
	p.line("  records      %s in %s (%s/s), %s", number(v.Records), v.Duration.Round(time.Millisecond), number(int64(v.Rate)), from)
	if v.Deleted+v.Thinned > 0 {
		p.line("  retention    %s more deleted and %s thinned, and its records say so", number(v.Deleted), number(v.Thinned))
	}
	p.line("  sessions     %s add up", number(v.Sessions))
	p.line("  checkpoints  %s, the last of record %s; %s", number(v.Checkpoints), number(v.Last-v.Unsigned), elsewhere(v.Anchors))
	if v.Unsigned > 0 {
		p.line("               %s newer records are not signed yet", number(v.Unsigned))
	}
	p.line("  key          %s", v.Key)
	p.line("               %s", v.Fingerprint)
}

// elsewhere tells how many checkpoints were compared that do not lie in the database.
func elsewhere(anchors int64) string {
	if anchors == 0 {
		return "none from elsewhere was given to compare (--anchor)"
	}
	return number(anchors) + " from elsewhere were compared"
}
