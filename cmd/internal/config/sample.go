package config

import (
	"fmt"
	"strings"
)

// Sample returns a configuration file with every setting, its meaning and its default, all commented out.
func Sample() string {
	var b strings.Builder
	b.WriteString("# Postern's settings. Flags override POSTERN_* variables, which override this file.\n" +
		"# Lines that are commented out show the default, or an example where there is none.\n")
	group := ""
	for _, s := range Settings {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n### %s\n", group)
		}
		fmt.Fprintf(&b, "\n# %s\n#%s\n", s.Usage, s.example(""))
	}
	return b.String()
}
