package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
	"postern/cmd/internal/show"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Export or rotate the key that signs the log",
		Long: "The log's checkpoints are signed with a key that lies beside the database (audit.key), made once, and never printed.\n" +
			"Its public half is what verify --key and verify-proof --key ask for: keep it where nobody who can change the log\n" +
			"can change it.",
		Example: "  postern key export > postern.pub\n  sudo postern key rotate",
		GroupID: groupProve,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyExport(), newKeyRotate())
	return cmd
}

func newKeyExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the public key that verifies the log",
		Long: "export prints the verifier key of the log on the standard output (C2SP signed-note, NAME+HASH+KEY), and its fingerprint, which\n" +
			"two people can compare by voice, beside it. It tells nothing that is secret.",
		Example: "  postern key export > postern.pub\n  postern verify --key postern.pub",
		Args:    noArguments,
	}
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return exportKey(cmd, c)
	}
	return cmd
}

func exportKey(cmd *cobra.Command, c *config.Config) error {
	r, err := openReader(c)
	if err != nil {
		return err
	}
	defer r.Close()
	key, err := r.Verifier(cmd.Context())
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	if key == "" {
		return errors.New("this log has no key yet: postern serve makes one when it starts")
	}
	fingerprint, err := audit.Fingerprint(key)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "fingerprint %s\n", fingerprint)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
	return err
}

func newKeyRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Sign with a new key from now on",
		Long: "rotate makes a new key. The old one signs it, in a record of the log, and both sign the checkpoint with that record: who\n" +
			"knows the old key can follow to the new one. Then the old key is deleted. It works while serve runs, and without.\n\n" +
			"--lost is for a key that is gone. Nothing vouches for the new one then: the log says so, and verify reports a broken\n" +
			"chain until it is given the new key with --key. Stop serve first.",
		Example: "  sudo postern key rotate\n  sudo postern key rotate --lost",
		Args:    noArguments,
	}
	var lost bool
	addToggle(cmd.Flags(), &lost, "lost", "", "the key is gone: begin with a new one, which nothing vouches for")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings()
		if err != nil {
			return err
		}
		return rotateKey(cmd, c, lost)
	}
	return cmd
}

func rotateKey(cmd *cobra.Command, c *config.Config, lost bool) error {
	if err := checkReadable(c.AuditPath()); err != nil {
		return err
	}
	by, _ := operator()
	options := audit.Options{Path: c.AuditPath()}
	var told audit.Rotated
	var err error
	if lost {
		told, err = audit.ReplaceLostKey(cmd.Context(), options, by)
	} else {
		told, err = rotation{By: by}.ask(cmd.Context(), c, options)
	}
	if err != nil {
		return err
	}
	return printRotated(cmd, told)
}

// rotation asks a running serve for a new key.
type rotation struct {
	Log string `json:"log"` // absolute path of the database
	By  string `json:"by"`
}

// rotated is what serve answers.
type rotated struct {
	Elsewhere bool          `json:"elsewhere,omitzero"` // it writes another log
	Rotated   audit.Rotated `json:"rotated"`
}

// ask lets the serve that writes the log rotate its key, and does it itself when there is none.
func (r rotation) ask(ctx context.Context, c *config.Config, options audit.Options) (audit.Rotated, error) {
	var err error
	if r.Log, err = filepath.Abs(c.AuditPath()); err != nil {
		return audit.Rotated{}, fmt.Errorf("find the audit log: %w", err)
	}
	for _, dir := range slices.Compact([]string{c.DataDir, filepath.Dir(r.Log)}) {
		var answer rotated
		err := control.Client(dir).Call(ctx, "POST", "/audit/key/rotate", r, &answer)
		switch {
		case errors.Is(err, control.ErrNotRunning), err == nil && answer.Elsewhere:
		case err != nil:
			return audit.Rotated{}, err
		default:
			return answer.Rotated, nil
		}
	}
	return audit.RotateKey(ctx, options, r.By)
}

// rotateKey does what another command asks for.
func (d *daemon) rotateKey(ctx context.Context, r rotation) (rotated, error) {
	if !sameFile(r.Log, d.config.AuditPath()) {
		return rotated{Elsewhere: true}, nil
	}
	told, err := d.audit.RotateKey(ctx, cut(r.By))
	if err == nil {
		d.log.Warn("the key of the audit log is another one", "key", told.New, "by", r.By, "record", told.Seq)
	}
	return rotated{Rotated: told}, err
}

func printRotated(cmd *cobra.Command, told audit.Rotated) error {
	fingerprint, err := audit.Fingerprint(told.New)
	if err != nil {
		return err
	}
	stderr := cmd.ErrOrStderr()
	if told.Lost {
		fmt.Fprintln(stderr, "Nothing vouches for this key. Verify with --key and this key from now on; a witness must be told of it.")
	} else {
		fmt.Fprintln(stderr, "The old key vouches for this one: who has that one may go on using it. A witness must be told of this one.")
	}
	if told.Left != "" {
		fmt.Fprintf(stderr, "The key is in force, and not in its place yet; the next start of serve puts it there: %s\n", show.Escape(told.Left))
	}
	fmt.Fprintf(stderr, "record %d, fingerprint %s\n", told.Seq, fingerprint)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), told.New)
	return err
}
