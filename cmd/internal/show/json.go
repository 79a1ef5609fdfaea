package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
)

// JSONLines returns a function that writes each value as one line of JSON. Whatever could act on a terminal
// is written as \u and four digits, which every parser of JSON reads back.
func JSONLines[T any](w io.Writer) func(T) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	return func(v T) error {
		line.Reset()
		if err := encoder.Encode(v); err != nil {
			return fmt.Errorf("encode JSON: %w", err)
		}
		_, err := w.Write(escapeJSON(line.Bytes()))
		return err
	}
}

// escapeJSON escapes characters that do not print; only texts in JSON hold some.
func escapeJSON(line []byte) []byte {
	hidden := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if bytes.IndexFunc(line, hidden) < 0 {
		return line
	}
	var b bytes.Buffer
	for _, r := range string(line) {
		if !hidden(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.Bytes()
}
