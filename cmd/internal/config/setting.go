package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is one row of the table: all there is to say about one setting.
type Setting struct {
	Name    string // the flag; the file's key has _ for -, the variable is POSTERN_ and capitals
	Group   string // heading in help and in the sample file
	Value   string // what stands for the value in help: "ADDR", "PATH"
	Default string // as text; a list is separated by commas
	Usage   string
	Choices []string            // the only values allowed, nil for any
	Min     int64               // of a number; of a duration in nanoseconds
	Max     int64               // 0 for none
	Twice   bool                // the same value may stand in a list twice
	Secret  bool                // the value may hold a secret, such as a token in a URL: it is not to be shown
	check   func(string) string // says what is wrong with one text value, "" for nothing
	field   func(*Config) any   // points at the field: *string, *bool, *int, *time.Duration, *Age, *Size or *[]string
}

// Key is the setting's key in the file.
func (s Setting) Key() string { return strings.ReplaceAll(s.Name, "-", "_") }

// Variable is the setting's name in the environment.
func (s Setting) Variable() string { return prefix + strings.ToUpper(s.Key()) }

const prefix = "POSTERN_"

// IsBool and IsList tell the kinds that flags treat apart.
func (s Setting) IsBool() bool { _, ok := s.field(&Config{}).(*bool); return ok }

// IsList reports whether the setting takes several values.
func (s Setting) IsList() bool { _, ok := s.field(&Config{}).(*[]string); return ok }

// empty reports whether s is a text or a list without anything in it.
func (s Setting) empty(c *Config) bool {
	switch field := s.field(c).(type) {
	case *string:
		return *field == ""
	case *[]string:
		return len(*field) == 0
	}
	return false
}

// Lookup returns the Setting called name.
func Lookup(name string) (Setting, bool) {
	i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return Settings[i], true
}

func (s Setting) defaults() []string { return []string{s.Default} }

// assign parses values into s's field of c and returns what is wrong with them, "" when they are right.
func (s Setting) assign(c *Config, values []string) string {
	if list, ok := s.field(c).(*[]string); ok {
		return s.assignList(list, values)
	}
	if len(values) != 1 {
		return s.Key() + " takes one value, not a list"
	}
	return s.assignOne(c, values[0])
}

func (s Setting) assignOne(c *Config, text string) string {
	switch field := s.field(c).(type) {
	case *string:
		*field = text
		return s.wrong(text)
	case *bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Sprintf("%.80q is neither true nor false", text)
		}
		*field = v
	case *int:
		v, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if err != nil {
			return fmt.Sprintf("%.80q is not a whole number", text)
		}
		*field = v
		return s.outside(int64(v), func(n int64) string { return strconv.FormatInt(n, 10) })
	case *time.Duration:
		v, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Sprintf("%.80q is not a duration", text)
		}
		*field = v
		return s.outside(int64(v), func(n int64) string { return short(time.Duration(n)) })
	case *Age:
		return field.set(text)
	case *Size:
		return field.set(text)
	}
	return ""
}

// assignList takes every element; an empty one stands for none, so that "" empties a list. It returns the
// first mistake.
func (s Setting) assignList(list *[]string, values []string) (what string) {
	*list = nil
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			item = strings.TrimSpace(item)
			if item == "" {
				continue
			}
			if what == "" {
				what = s.wrong(item)
			}
			if what == "" && !s.Twice && slices.Contains(*list, item) {
				what = fmt.Sprintf("%.80q stands there twice", item)
			}
			*list = append(*list, item)
		}
	}
	return what
}

func (s Setting) wrong(text string) string {
	if s.Choices != nil && !slices.Contains(s.Choices, text) {
		return fmt.Sprintf("%.80q is none of %s", text, strings.Join(s.Choices, ", "))
	}
	if s.check != nil && text != "" {
		return s.check(text)
	}
	return ""
}

func (s Setting) outside(n int64, print func(int64) string) string {
	if n < s.Min {
		return fmt.Sprintf("%s is less than %s, the least allowed", print(n), print(s.Min))
	}
	if s.Max > 0 && n > s.Max {
		return fmt.Sprintf("%s is more than %s, the most allowed", print(n), print(s.Max))
	}
	return ""
}

// remedy says how a value of s is written, or which choice was meant.
func (s Setting) remedy(values []string, at Origin) string {
	if s.Choices != nil {
		if len(values) == 1 {
			if near := nearest(values[0], s.Choices); near != "" {
				return fmt.Sprintf("did you mean %q?", near)
			}
		}
		return "choose one of " + strings.Join(s.Choices, ", ")
	}
	return "write it like " + s.example(at)
}

// example is the setting as it is written where at is: a flag, a variable, or a line of the file.
func (s Setting) example(at Origin) string {
	sample := cmp.Or(s.Default, examples[s.Name])
	switch {
	case strings.HasPrefix(string(at), "--"):
		return "--" + s.Name + "=" + sample
	case strings.HasPrefix(string(at), prefix):
		return s.Variable() + "=" + sample
	}
	switch s.field(&Config{}).(type) {
	case *bool, *int:
		return s.Key() + " = " + sample
	case *[]string:
		return fmt.Sprintf("%s = [%q]", s.Key(), sample)
	}
	return fmt.Sprintf("%s = %q", s.Key(), sample)
}

// short prints a duration without its zero parts: 10m, not 10m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
