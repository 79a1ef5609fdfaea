package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"postern/audit"
	"postern/cmd/internal/show"
)

// isTerminal tells whether a person looks at what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// bar draws on one line of a terminal how far a verification is.
type bar struct {
	w     io.Writer
	began time.Time
	width int // of what is drawn
}

// newBar returns nil where nobody looks.
func newBar(w io.Writer) *bar {
	if !isTerminal(w) {
		return nil
	}
	return &bar{w: w, began: time.Now()}
}

func (b *bar) draw(p audit.Progress) {
	const cells = 24
	if p.Of == 0 {
		return
	}
	full := int(cells * p.Done / p.Of)
	rate := float64(p.Done) / max(time.Since(b.began).Seconds(), 0.001)
	left := time.Duration(float64(p.Of-p.Done) / max(rate, 1) * float64(time.Second))
	line := fmt.Sprintf("[%s%s] %3d %%  %s of %s records, %s/s, %s left", strings.Repeat("#", full), strings.Repeat(".", cells-full),
		100*p.Done/p.Of, number(p.Done), number(p.Of), number(int64(rate)), left.Round(time.Second))
	b.put(line)
}

// clear makes room for the result.
func (b *bar) clear() {
	if b != nil && b.width > 0 {
		b.put("")
		fmt.Fprint(b.w, "\r")
	}
}

func (b *bar) put(line string) {
	fmt.Fprintf(b.w, "\r%-*s", b.width, line)
	b.width = len(line)
}

// number prints n in groups of three digits.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// copying draws how far a copy is: octets, then records that were held against themselves.
func (b *bar) copying(verifying bool, p audit.Progress) {
	switch {
	case b == nil || p.Of == 0:
	case verifying:
		b.draw(p)
	default:
		b.put(fmt.Sprintf("copied %s of %s", show.Octets(p.Done), show.Octets(p.Of)))
	}
}
