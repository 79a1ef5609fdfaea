package config

import (
	"strings"
	"testing"
	"time"
)

func TestAges(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "forever": 0, "1d": day, "365d": 365 * day, "36h": 36 * time.Hour} {
		var a Age
		if what := a.set(text); what != "" || time.Duration(a) != want {
			t.Errorf("%s is %v: %s", text, time.Duration(a), what)
		}
	}
	for text, want := range map[string]string{
		"": "not an age", "12": "not an age", "d": "not an age", "1.5d": "not an age", "a year": "not an age", "106752d": "292 years",
		"23h": "less than a day", "-3d": "less than a day", "0d": "less than a day",
	} {
		var a Age
		if what := a.set(text); !strings.Contains(what, want) || a != 0 {
			t.Errorf("%q: %s, want %s", text, what, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "10MB": 1e7, "10GB": 1e10, "2 GiB": 2 << 30, "1tb": 1e12, "20000000": 2e7, "20000000B": 2e7} {
		var s Size
		if what := s.set(text); what != "" || s != want {
			t.Errorf("%s is %d: %s", text, s, what)
		}
	}
	for text, want := range map[string]string{
		"": "not a size", "GB": "not a size", "1.5GB": "not a size", "-1GB": "not a size", "1XB": "not a size", "1GG": "not a size",
		"9MB": "less than 10MB", "10": "less than 10MB", "9999999TB": "more than any disk",
	} {
		var s Size
		if what := s.set(text); !strings.Contains(what, want) || s != 0 {
			t.Errorf("%q: %s, want %s", text, what, want)
		}
	}
}
