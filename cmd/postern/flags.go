package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/cmd/internal/config"
)

// groupNote annotates a flag with the heading it stands under in the help.
const groupNote = "group"

// settingValue is a setting as a flag: it collects text, which config parses with all other layers.
type settingValue struct {
	setting config.Setting
	given   []string
}

func (v *settingValue) String() string {
	if v.given == nil {
		return v.setting.Default
	}
	return strings.Join(v.given, ",")
}

// Set keeps every value of a list, and the last one of anything else.
func (v *settingValue) Set(text string) error {
	if !v.setting.IsList() {
		v.given = nil
	}
	v.given = append(v.given, text)
	return nil
}

// Type is what stands for the value in the help.
func (v *settingValue) Type() string {
	if v.setting.IsBool() {
		return (*toggle)(nil).Type()
	}
	return v.setting.Value
}

// addSettings gives cmd a flag for each setting named (for all of them when none is), and --config. The
// function it returns loads all layers once the flags are parsed.
func addSettings(cmd *cobra.Command, names ...string) func() (*config.Config, error) {
	values := make(map[string]*settingValue)
	flags := cmd.Flags()
	flags.SortFlags = false
	file := flags.String("config", "", "TOML `FILE` with settings (or "+config.FileVariable+")")
	for _, s := range config.Settings {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		values[s.Name] = &settingValue{setting: s}
		f := flags.VarPF(values[s.Name], s.Name, "", s.Usage)
		if s.IsBool() {
			f.NoOptDefVal = "true"
		}
		f.Annotations = map[string][]string{groupNote: {s.Group}}
		completeChoices(cmd, s)
	}
	cmd.SetUsageFunc(groupedUsage)
	return func() (*config.Config, error) {
		given := make(map[string][]string)
		for name, v := range values {
			if v.given != nil {
				given[name] = v.given
			}
		}
		return config.Load(config.Sources{
			File:    cmp.Or(*file, os.Getenv(config.FileVariable)),
			Environ: os.Environ(),
			Flags:   given,
		})
	}
}

func completeChoices(cmd *cobra.Command, s config.Setting) {
	complete := cobra.FixedCompletions(s.Choices, cobra.ShellCompDirectiveNoFileComp)
	if s.Choices == nil {
		complete = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		}
	}
	if err := cmd.RegisterFlagCompletionFunc(s.Name, complete); err != nil {
		panic(err) // the flag was not added above
	}
}

// groupedUsage prints a command's flags under the headings of their settings.
func groupedUsage(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	for i, sub := range cmd.Commands() {
		if i == 0 {
			b.WriteString("\nCommands:\n")
		}
		fmt.Fprintf(&b, "  %-*s  %s\n", sub.NamePadding(), sub.Name(), sub.Short)
	}
	headings, sets := []string{}, make(map[string]*pflag.FlagSet)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		heading := "Flags"
		if note := f.Annotations[groupNote]; note != nil {
			heading = note[0]
		}
		if sets[heading] == nil {
			sets[heading] = pflag.NewFlagSet(heading, pflag.ContinueOnError)
			sets[heading].SortFlags = false
			headings = append(headings, heading)
		}
		sets[heading].AddFlag(f)
	})
	for _, heading := range headings {
		fmt.Fprintf(&b, "\n%s:\n%s", heading, sets[heading].FlagUsages())
	}
	b.WriteString("\nEvery setting is also a key of the TOML file (listen_pop3s) and a variable (POSTERN_LISTEN_POP3S).\n" +
		"Flags override variables, which override the file. postern config prints a file with all of them.\n")
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// newConfig prints what a configuration file may hold, from the same table as everything else.
func newConfig() *cobra.Command {
	return &cobra.Command{
		Use:     "config",
		Short:   "Print a configuration file with every setting and its default",
		Example: "  postern config > postern.toml\n  postern serve --config postern.toml",
		GroupID: groupRun,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.Sample())
			return err
		},
	}
}
