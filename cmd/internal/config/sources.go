package config

import (
	"fmt"
	"slices"
	"strings"
)

// FileVariable names the variable that stands for --config.
const FileVariable = prefix + "CONFIG"

// fromEnviron takes the POSTERN_* variables. Unknown ones are a mistake only when they look like a slip:
// container platforms add variables of their own, such as POSTERN_SERVICE_HOST.
func fromEnviron(environ []string, problems *Problems) []given {
	byVariable := make(map[string]Setting, len(Settings))
	names := []string{FileVariable}
	for _, s := range Settings {
		byVariable[s.Variable()] = s
		names = append(names, s.Variable())
	}
	var layer []given
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || name == FileVariable {
			continue
		}
		if s, ok := byVariable[name]; ok {
			layer = append(layer, given{s, []string{value}, Origin(name)})
		} else if near := nearest(bounded(name[len(prefix):]), trimmed(names)); near != "" {
			problems.Add(bounded(name), "unknown variable", fmt.Sprintf("did you mean %s?", prefix+near))
		}
	}
	return layer
}

func trimmed(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.TrimPrefix(name, prefix)
	}
	return out
}

func fromFlags(flags map[string][]string) []given {
	var layer []given
	for _, s := range Settings {
		if values, ok := flags[s.Name]; ok {
			layer = append(layer, given{s, values, Origin("--" + s.Name)})
		}
	}
	return layer
}

// bounded cuts names from outside to a length that errors can carry.
func bounded(name string) string {
	const most = 64
	return name[:min(len(name), most)]
}
