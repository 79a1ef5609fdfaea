package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Problem is one mistake in the settings.
type Problem struct {
	Where  string // file:line:column, a variable or a flag
	What   string
	Remedy string // how to mend it, "" when What says it all
}

// Problems are all mistakes that were found, in the order of the layers. They are an error.
type Problems []Problem

// Add appends a Problem.
func (p *Problems) Add(where, what, remedy string) {
	*p = append(*p, Problem{where, what, remedy})
}

// Error tells every problem on lines of its own.
func (p Problems) Error() string {
	var b strings.Builder
	b.WriteString("the settings do not work yet:\n")
	if len(p) > 1 {
		b.Reset()
		fmt.Fprintf(&b, "the settings do not work yet, for %d reasons:\n", len(p))
	}
	for _, q := range p {
		fmt.Fprintf(&b, "\n  %s: %s", q.Where, q.What)
		if q.Remedy != "" {
			fmt.Fprintf(&b, "\n      %s", q.Remedy)
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// reason leaves the path and the system call out of a file error: the Problem names the place already.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// nearest returns the candidate that word is most likely a slip for, or "".
func nearest(word string, candidates []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts how many octets to insert, remove, replace or swap with the next one make b out of a
// (optimal string alignment). Words are bounded by callers.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
