package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/show"
)

func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup DEST",
		Short: "Copy the log to a file, also while serve runs",
		Long: "backup copies the log, as it is when it begins, to the file DEST, and holds the whole copy against itself before it\n" +
			"calls it good. serve may run meanwhile and is not delayed. DEST must not exist; when anything fails nothing is left.\n\n" +
			"The key that signs the log is not in the copy. Keep it apart: whoever has both can make another log that verifies.\n" +
			"A restored log needs it.",
		Example: "  sudo postern backup /mnt/backup/audit-$(date +%F).db\n" +
			"  sudo postern backup --with-key /mnt/safe/audit.db",
		GroupID: groupKeep,
		Args:    oneArgument("backup wants one DEST, a file that is not there yet"),
	}
	var withKey, asJSON bool
	addToggle(cmd.Flags(), &withKey, "with-key", "", "copy the key beside it, as DEST with .key")
	addToggle(cmd.Flags(), &asJSON, "json", "", "print the result as JSON")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return backup(cmd, c, args[0], withKey, asJSON)
	}
	return cmd
}

// oneArgument refuses anything but one argument, in these words.
func oneArgument(words string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{errors.New(words)}
		}
		return nil
	}
}

func backup(cmd *cobra.Command, c *config.Config, dest string, withKey, asJSON bool) error {
	if err := checkReadable(c.AuditPath()); err != nil {
		return err
	}
	key := audit.KeyPath(dest)
	if withKey {
		if err := isFree(key); err != nil {
			return err
		}
	}
	noteAccess(cmd, c, 0)
	bar := newBar(cmd.ErrOrStderr())
	copied, err := audit.Backup(cmd.Context(), audit.BackupOptions{Path: c.AuditPath(), Dest: dest, Report: bar.copying})
	bar.clear()
	if cmd.Context().Err() != nil {
		return errors.New("given up: nothing was kept")
	}
	if err != nil {
		return fmt.Errorf("back up the log: %w", err)
	}
	result := copyResult{copied.Path, copied.Octets, copied.Verdict.Last, copied.Verdict.Origin, copied.Verdict.Key, copied.Newest.Size, copied.Newest.Note, ""}
	if withKey {
		if err := audit.CopyKey(audit.KeyPath(c.AuditPath()), key); err != nil {
			return fmt.Errorf("the log is copied to %s, and its key is not: %w", dest, err)
		}
		result.KeyFile = key
	}
	return result.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), asJSON)
}

// isFree refuses a path where something is.
func isFree(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, fmt.Errorf("%s is there already, and a backup replaces nothing", path))
}

// copyResult is what backup prints.
type copyResult struct {
	Path       string `json:"path"`
	Octets     int64  `json:"octets"`
	Records    int64  `json:"records"` // the number of the last one
	Origin     string `json:"origin"`
	Key        string `json:"key"` // the verifier key in force
	Signed     int64  `json:"signed"`
	Checkpoint string `json:"checkpoint"`
	KeyFile    string `json:"key_file,omitzero"`
}

func (r *copyResult) print(out, errs io.Writer, asJSON bool) error {
	if asJSON {
		if err := show.JSONLines[copyResult](out)(*r); err != nil {
			return err
		}
	} else {
		_, err := fmt.Fprintf(out, "%s is a good copy.\n  records     1 to %s, %s\n  log         %s\n  checkpoint  of record %s\n  key         %s\n", show.Escape(r.Path),
			number(r.Records), show.Octets(r.Octets), r.Origin, number(r.Signed), r.Key)
		if err != nil {
			return err
		}
	}
	if r.KeyFile != "" {
		_, err := fmt.Fprintf(errs, "THE KEY IS BESIDE IT, in %s: whoever takes both can make another log that verifies. Move it to another place.\n", show.Escape(r.KeyFile))
		return err
	}
	if asJSON {
		return nil
	}
	_, err := fmt.Fprintln(errs, "The key is not in it, and a restored log needs it: keep a copy of that apart (--with-key).")
	return err
}
