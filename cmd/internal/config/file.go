package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlFile walks a TOML document expression by expression, because only the parser's own nodes know the
// position of a value that is well formed and wrong.
type tomlFile struct {
	name     string
	parser   unstable.Parser
	seen     map[string]int // line of each key
	layer    []given
	problems *Problems
}

// fromTOML takes the settings of a document. The file is flat: tables are mistakes.
func fromTOML(name string, text []byte, problems *Problems) []given {
	f := &tomlFile{name: name, seen: make(map[string]int), problems: problems}
	f.parser.Reset(text)
	inTable := false
	for f.parser.NextExpression() {
		node := f.parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			inTable = true
			key, raw := joinedKey(node)
			f.problem(raw, fmt.Sprintf("unknown table [%s]", bounded(key)),
				"settings stand at the top level, without a [table] above them")
		case unstable.KeyValue:
			if !inTable { // what is in an unknown table is mended with it
				f.keyValue(node)
			}
		}
	}
	if pe, ok := errors.AsType[*unstable.ParserError](f.parser.Error()); ok {
		f.problem(f.parser.Range(pe.Highlight), pe.Message, "values are written as in TOML: \"text\", 10, true, [\"a\", \"b\"]")
	}
	return f.layer
}

func (f *tomlFile) keyValue(node *unstable.Node) {
	key, raw := joinedKey(node)
	setting, ok := Lookup(strings.ReplaceAll(key, "_", "-"))
	if !ok || strings.Contains(key, "-") {
		f.problem(raw, fmt.Sprintf("unknown key %q", bounded(key)), unknownKey(key))
		return
	}
	at := f.parser.Shape(raw).Start
	if line := f.seen[key]; line > 0 {
		f.problem(raw, fmt.Sprintf("%s was set on line %d already", key, line), "keep one of the two")
		return
	}
	f.seen[key] = at.Line
	value := node.Value()
	raw = f.valueRange(value, raw)
	if texts, ok := f.texts(setting, value, raw); ok {
		f.layer = append(f.layer, given{setting, texts, f.place(raw)})
	}
}

// texts returns the value as the text that Setting.assign parses, or adds a problem when TOML's type is
// not the setting's.
func (f *tomlFile) texts(s Setting, value *unstable.Node, raw unstable.Range) ([]string, bool) {
	want, kind := unstable.String, "a text in quotes"
	switch s.field(&Config{}).(type) {
	case *bool:
		want, kind = unstable.Bool, "true or false"
	case *int:
		want, kind = unstable.Integer, "a whole number"
	case *[]string:
		if value.Kind == unstable.Array {
			return f.elements(s, value)
		}
		kind = "a list of texts"
	}
	if value.Kind != want {
		f.problem(raw, fmt.Sprintf("%s wants %s, not %s", s.Key(), kind, kindName(value.Kind)), s.remedy(nil, ""))
		return nil, false
	}
	return []string{string(value.Data)}, true
}

func (f *tomlFile) elements(s Setting, array *unstable.Node) ([]string, bool) {
	texts := []string{}
	for it := array.Children(); it.Next(); {
		item := it.Node()
		if item.Kind == unstable.Comment {
			continue
		}
		if item.Kind != unstable.String {
			f.problem(item.Raw, fmt.Sprintf("%s wants texts in its list, not %s", s.Key(), kindName(item.Kind)), s.remedy(nil, ""))
			return nil, false
		}
		text := string(item.Data)
		if what := s.wrong(text); what != "" {
			f.problem(item.Raw, what, s.remedy(nil, ""))
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// valueRange tells where a value stands. The parser leaves it out for a list: there it is what follows
// the key's equals sign.
func (f *tomlFile) valueRange(value *unstable.Node, key unstable.Range) unstable.Range {
	if value.Raw.Length > 0 {
		return value.Raw
	}
	end := key.Offset + key.Length
	rest := f.parser.Data()[end:]
	blank := len(rest) - len(bytes.TrimLeft(rest, " \t=\""))
	return unstable.Range{Offset: end + uint32(blank), Length: 1}
}

func (f *tomlFile) problem(raw unstable.Range, what, remedy string) {
	f.problems.Add(string(f.place(raw)), what, remedy)
}

func (f *tomlFile) place(raw unstable.Range) Origin {
	at := f.parser.Shape(raw).Start
	return Origin(fmt.Sprintf("%s:%d:%d", f.name, at.Line, at.Column))
}

// joinedKey returns a key with its dots, and where its first part stands.
func joinedKey(node *unstable.Node) (string, unstable.Range) {
	var parts []string
	var raw unstable.Range
	for it := node.Key(); it.Next(); {
		if len(parts) == 0 {
			raw = it.Node().Raw
		}
		parts = append(parts, string(it.Node().Data))
	}
	return strings.Join(parts, "."), raw
}

func unknownKey(key string) string {
	keys := make([]string, len(Settings))
	for i, s := range Settings {
		keys[i] = s.Key()
	}
	if near := nearest(bounded(strings.ReplaceAll(key, "-", "_")), keys); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "postern config prints a file with every key"
}

func kindName(kind unstable.Kind) string {
	switch kind {
	case unstable.String:
		return "a text"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a whole number"
	case unstable.Float:
		return "a number with a point"
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}
