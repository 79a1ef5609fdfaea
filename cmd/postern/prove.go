package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
)

// signTime is how long prove waits until a new record is signed; a running serve takes a second.
const signTime = 5 * time.Second

func newProve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prove SEQ",
		Short: "Write a proof that a record is in the log",
		Long: "prove writes the record with number SEQ and all that shows that it is in the log: whoever has the file and the log's public\n" +
			"key needs nothing else. Of a record that retention thinned it shows what is left of it. The file names whoever the\n" +
			"record names: give it to those only who may read that.",
		Example: "  postern prove 4711 -o 4711.proof\n  postern verify-proof 4711.proof --key postern.pub",
		GroupID: groupProve,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("prove wants one number of a record, SEQ; postern tail --json prints them")}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var to string
	cmd.Flags().StringVarP(&to, "output", "o", "", "write to `FILE`, which must not be there yet, instead of the standard output")
	settings := readSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		seq, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || seq < 1 {
			return usageError{fmt.Errorf("%.40q is not the number of a record: want 1 or more", args[0])}
		}
		c, err := settings()
		if err != nil {
			return err
		}
		return prove(cmd, c, seq, to)
	}
	return cmd
}

func prove(cmd *cobra.Command, c *config.Config, seq int64, to string) error {
	r, err := openReader(c)
	if err != nil {
		return err
	}
	defer r.Close()
	noteAccess(cmd, c, 1)
	p, err := proofOf(cmd.Context(), r, seq)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if to == "" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	return writeNew(to, text)
}

// proofOf makes a proof, and waits a while for one of a record that is not signed yet.
func proofOf(ctx context.Context, r *audit.Reader, seq int64) (p *audit.Proof, err error) {
	for until := time.Now().Add(signTime); ; {
		p, err = r.Prove(ctx, seq)
		if !errors.Is(err, audit.ErrUnsigned) || time.Now().After(until) || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	switch {
	case errors.Is(err, audit.ErrUnsigned):
		return nil, fmt.Errorf("record %d is not signed yet: a running serve signs within a second; without one, start it", seq)
	case errors.Is(err, audit.ErrDeleted):
		return nil, fmt.Errorf("record %d was deleted by retention: its place in the log can be verified, what it said is gone", seq)
	case errors.Is(err, audit.ErrNotFound):
		last, err := r.LastSeq(ctx)
		return nil, errors.Join(err, fmt.Errorf("there is no record %d yet: the newest is %d", seq, last))
	}
	return p, err
}

// writeNew writes a file that only its owner can read, and that was not there before.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and nothing is written over: name a file that is not", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

func newVerifyProof() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify-proof FILE",
		Short: "Check a proof that prove wrote, without the log",
		Long: "verify-proof checks the proof in FILE, and prints what it shows: the record, and who signed that it is in the log. It reads\n" +
			"nothing else. Without --key it only shows that whoever holds the key in the file says so.",
		Example: "  postern verify-proof 4711.proof --key postern.pub\n  postern prove 4711 | postern verify-proof -",
		GroupID: groupProve,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("verify-proof wants one FILE, or - for the standard input")}
			}
			return nil
		},
	}
	var keys []string
	var asJSON bool
	cmd.Flags().StringArrayVar(&keys, "key", nil, "verifier `KEY` of the log, or a file with it (repeatable)")
	addToggle(cmd.Flags(), &asJSON, "json", "", "print what it shows as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		trusted, err := readKeys(keys)
		if err != nil {
			return err
		}
		p, err := readProof(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		shown, err := p.Check(trusted...)
		if err != nil {
			return fmt.Errorf("this proves nothing: %w", err)
		}
		return printProven(cmd.OutOrStdout(), p, shown, asJSON)
	}
	return cmd
}

// readKeys reads what --key was given.
func readKeys(texts []string) (keys []string, err error) {
	for _, text := range texts {
		key, err := audit.ReadVerifier(text)
		if err != nil {
			return nil, usageError{err}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// maxProof bounds a proof: a record, some hashes, and some keys.
const maxProof = 4 << 20

func readProof(stdin io.Reader, path string) (*audit.Proof, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		stdin = f
	}
	p := new(audit.Proof)
	d := json.NewDecoder(io.LimitReader(stdin, maxProof))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("read proof: %w", err)
	}
	return p, nil
}
