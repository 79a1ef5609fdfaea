package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"postern/audit"
	"postern/proxy"
)

// TestTheConfigurationIsOnRecord at every start, right behind it.
func TestTheConfigurationIsOnRecord(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		d := wholeDaemon(t, dir, new(logBuffer))
		if err := d.stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := audit.OpenReader(filepath.Join(dir, "audit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	records, err := r.Records(t.Context(), 0, 1000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	runs, expected := 0, 0
	var settings map[string]string
	for _, record := range records {
		switch record.Kind {
		case proxy.KindStart:
			settings = map[string]string{}
			runs, expected = runs+1, int(record.Seq)+1
		case proxy.KindConfig:
			if int(record.Seq) != expected {
				t.Errorf("record %d: a setting, after other records of this run", record.Seq)
			}
			expected++
			settings[record.Arg] = record.Text
		case proxy.KindStop:
			for name, want := range map[string]string{"durability": "strict", "on-failure": "refuse", "data-dir": dir, "tls-local": "true",
				"backend": "127.0.0.1:1", "listen-pop3": "127.0.0.1:0", "web": "127.0.0.1:0"} {
				if settings[name] != want {
					t.Errorf("run %d: %s is on record as %q, want %q", runs, name, settings[name], want)
				}
			}
		}
	}
	if runs != 2 {
		t.Errorf("%d runs on record, want 2", runs)
	}
}

// TestPieces loses no element of a long list, and bounds what is longer than that.
func TestPieces(t *testing.T) {
	var names []string
	for n := range 300 {
		names = append(names, fmt.Sprintf("pop.customer%d.example", n))
	}
	list := strings.Join(names, ", ")
	all := pieces(list)
	if got := strings.Join(all, ", "); got != list {
		t.Errorf("%d pieces make %s", len(all), got)
	}
	for _, value := range []string{"", "one", list, strings.Repeat("é", 4000), strings.Repeat(list+", ", 100)} {
		all := pieces(value)
		if len(all) == 0 || len(all) > settingRecords {
			t.Errorf("%d pieces", len(all))
		}
		for _, piece := range all {
			if len(piece) > proxy.MaxText {
				t.Errorf("a piece has %d octets", len(piece))
			}
		}
	}
}
