package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Groups of subcommands in the help.
const (
	groupRun   = "run"
	groupCerts = "certs"
	groupRead  = "read"
	groupProve = "prove"
	groupKeep  = "keep"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "A POP3 proxy that adds TLS and records everything",
		Long: "Postern puts modern TLS in front of a POP3 server that has none, and keeps a record of every\n" +
			"command that passed. No reply is complete before its record is on disk.",
		Example: "  postern demo                                  see it work, with nothing to set up\n" +
			"  postern serve --backend mail:110 --tls-local  put it in front of a server\n" +
			"  postern tail --user ada                       watch what somebody does\n" +
			"  postern verify                                prove that nobody changed the log",
		Args:                       noArguments,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	addToggle(root.PersistentFlags(), new(bool), "help", "h", "tell what a command does")
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run:"}, &cobra.Group{ID: groupCerts, Title: "Certificates:"},
		&cobra.Group{ID: groupRead, Title: "Read the audit log:"},
		&cobra.Group{ID: groupProve, Title: "Prove the audit log:"},
		&cobra.Group{ID: groupKeep, Title: "What the audit log keeps:"})
	root.AddCommand(newServe(), newDemo(), newCerts(), newCA(), newTail(), newSessions(), newSession(), newVerify(), newProve(), newVerifyProof(), newKey(),
		newRetention(), newHold(), newBackup(), newRestore(), newConfig(), newVersion())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\n%s --help tells what there is", err, cmd.CommandPath())}
	})
	return root
}

// addCompletion adds the command that writes scripts for shells. cobra adds it by itself, but takes a shell that it does not
// know for a call for help. It is added when root knows where its output goes.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = noArguments, root.RunE
	}
}

// noArguments refuses arguments; on the root command they are slips of a subcommand's name.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return usageError{fmt.Errorf("%s takes no arguments, not %.80q", cmd.CommandPath(), args[0])}
	}
	remedy := cmd.CommandPath() + " --help tells what there is"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		remedy = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{fmt.Errorf("unknown command %.80q: %s", args[0], remedy)}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "postern %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// version tells what was built: the module's version, or the commit, or "devel".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return "devel-" + setting.Value[:12]
		}
	}
	return "devel"
}
