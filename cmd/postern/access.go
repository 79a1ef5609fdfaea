package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/audit"
	"postern/cmd/internal/config"
	"postern/cmd/internal/control"
	"postern/proxy"
)

// accessTime is how long a command waits for the record of its access: longer than the log takes to call a disk dead.
const accessTime = 15 * time.Second

// access tells that somebody reads the log, or changes what becomes of it, by a command.
type access struct {
	Log   string `json:"log"` // absolute path of the database
	User  string `json:"user"`
	As    string `json:"as,omitzero"` // whose rights were used, when User borrowed them
	Verb  string `json:"verb"`
	Arg   string `json:"arg,omitzero"`
	Count int64  `json:"count,omitzero"`
}

// accessed is the answer of a serve that was told of an access.
type accessed struct {
	Elsewhere bool   `json:"elsewhere,omitzero"` // it writes another log
	Lost      string `json:"lost,omitzero"`      // why it could not be recorded
}

// noteAccess puts on record that somebody reads the log by cmd, and what was asked for. Every command that reads it
// calls this before it prints anything; count is what it will give out, 0 when that is not known yet.
// What keeps the record from being made must not keep the log from being read: it is told of and gone on from.
func noteAccess(cmd *cobra.Command, c *config.Config, count int64) {
	a := access{Verb: strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), Arg: asked(cmd), Count: count}
	a.User, a.As = operator()
	if err := a.record(cmd.Context(), c); err != nil && cmd.Context().Err() == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "postern: there will be no record of this access: %v\n", err)
	}
}

// record lets the serve that writes the log record a, and does it itself when there is none.
func (a access) record(ctx context.Context, c *config.Config) (err error) {
	if a.Log, err = filepath.Abs(c.AuditPath()); err != nil {
		return fmt.Errorf("find the audit log: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, accessTime)
	defer cancel()
	for _, dir := range slices.Compact([]string{c.DataDir, filepath.Dir(a.Log)}) {
		var answer accessed
		err := control.Client(dir).Call(ctx, "POST", "/audit/access", a, &answer)
		switch {
		case err != nil, answer.Elsewhere: // who writes the log is told by its lock
		case answer.Lost != "":
			return errors.New(answer.Lost)
		default:
			return nil
		}
	}
	return audit.Append(ctx, audit.Options{Path: a.Log}, a.event())
}

// event is a as it is recorded, bounded whoever sent it.
func (a access) event() proxy.Event {
	ev := proxy.Event{Kind: proxy.KindAccess, Time: time.Now(), User: cut(a.User), Verb: cut(a.Verb), Arg: cut(a.Arg), Count: max(0, a.Count)}
	if a.As != "" {
		ev.Text = cut("as " + a.As)
	}
	return ev
}

// recordAccess records what another command tells of itself.
func (d *daemon) recordAccess(_ context.Context, a access) (answer accessed, err error) {
	if !sameFile(a.Log, d.config.AuditPath()) {
		return accessed{Elsewhere: true}, nil
	}
	if err := d.audit.Record(a.event()).Wait(); err != nil {
		answer.Lost = err.Error()
	}
	return answer, nil
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// operator tells who runs this command: the user, or who became that user by sudo. SUDO_USER is as good as the rights it
// comes with: who is root, or the user of serve, can say anything.
func operator() (name, as string) {
	name = userName(os.Getuid())
	if by := os.Getenv("SUDO_USER"); by != "" && by != name {
		return by, name
	}
	return name, ""
}

func userName(uid int) string {
	id := strconv.Itoa(uid)
	u, err := user.LookupId(id)
	if err != nil {
		return "uid " + id
	}
	return u.Username
}

// asked is what cmd was asked for, as it was typed: its arguments and flags, without the settings that say where
// the log is.
func asked(cmd *cobra.Command) string {
	var words []string
	for _, arg := range cmd.Flags().Args() {
		words = append(words, word(arg))
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch {
		case f.Annotations[groupNote] != nil || f.Name == "config":
		case f.Value.Type() == "bool" && f.Value.String() == "true":
			words = append(words, "--"+f.Name)
		default:
			words = append(words, "--"+f.Name+"="+word(f.Value.String()))
		}
	})
	return strings.Join(words, " ")
}

// word quotes an argument that would not look like one.
func word(arg string) string {
	if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\") {
		return strconv.Quote(arg)
	}
	return arg
}
