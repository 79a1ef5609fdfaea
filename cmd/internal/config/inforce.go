package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// InForce is one setting with the value that is in force, as text that may be kept and shown.
type InForce struct {
	Name   string
	Value  string // a list's elements with a comma and a space between
	Origin Origin // OfDefault for a default
}

// OfDefault stands for the place of a setting that nobody made.
const OfDefault Origin = "default"

// InForce returns every setting that is not at its default, and those that say how the log is kept whatever they are.
// No value holds a secret: those are in files, of which a setting only has the path, and in URLs, out of which
// all is taken that may be one.
func (c *Config) InForce() (all []InForce) {
	defaults := Default()
	for _, s := range Settings {
		value, origin := s.text(c), c.origins[s.Name]
		switch always := (s.Group == groupAudit || s.Group == groupRetain) && value != ""; {
		case value != s.text(defaults):
		case always:
			origin = OfDefault
		default:
			continue
		}
		all = append(all, InForce{s.Name, value, origin})
	}
	return all
}

// text is what s is set to.
func (s Setting) text(c *Config) string {
	switch field := s.field(c).(type) {
	case *string:
		return s.public(*field)
	case *bool:
		return strconv.FormatBool(*field)
	case *int:
		return strconv.Itoa(*field)
	case *time.Duration:
		return short(*field)
	case *Age:
		return field.String()
	case *Size:
		return strconv.FormatInt(int64(*field), 10)
	case *[]string:
		items := slices.Clone(*field)
		for i, item := range items {
			items[i] = s.public(item)
		}
		return strings.Join(items, ", ")
	}
	return ""
}

const redacted = "<redacted>"

// public takes out of a URL what may be a password: the user, the query, and the path where people put tokens.
func (s Setting) public(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return scheme + "://" + redacted
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, hasQuery := strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); u.User != nil && at >= 0 {
		rest = redacted + rest[at:]
	}
	if host, path, _ := strings.Cut(rest, "/"); s.Secret && path != "" {
		rest = host + "/" + redacted
	}
	if hasQuery {
		rest += "?" + redacted
	}
	return scheme + "://" + rest
}
