// Package show prints records and sessions of the audit log for people at a terminal.
//
// A Printer writes the live view (Record), the table of sessions (Sessions) and a session's transcript
// (Begin, Entry). Everything that came over the wire passes through Escape, so that no greeting or user name can move
// the cursor, change colours or reorder text.
//
// The package reads no database and knows no flags; times are printed in UTC.
package show

import (
	"io"
	"strings"
	"time"
)

// Printer prints to W. A Printer belongs to one goroutine.
type Printer struct {
	W     io.Writer
	Color bool // use ANSI colours

	day string // the date of the line before, for the live view
}

// Colours of the terminal's own palette, so that its user's theme decides what they look like.
const (
	plain  = ""
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint wraps text, already escaped and padded, in a colour.
func (p *Printer) paint(color, text string) string {
	if !p.Color || color == plain || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// write ends a line where its last visible character is: padding makes lines wrap.
func (p *Printer) write(line string) error {
	_, err := io.WriteString(p.W, strings.TrimRight(line, " ")+"\n")
	return err
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
