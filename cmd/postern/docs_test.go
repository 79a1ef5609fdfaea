package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"postern/audit"
	"postern/cmd/internal/config"
)

// quoted is text that a document sets apart as code.
var quoted = regexp.MustCompile("`([^`\n]+)`")

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns what stands under a heading.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no section %q", heading)
	}
	inside, _, _ := strings.Cut(after, "\n## ")
	return inside
}

// firstColumn returns the words set as code in the first column of a section's tables.
func firstColumn(section string) (words []string) {
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
				words = append(words, m[1])
			}
		}
	}
	return words
}

// kinds are the values of proxy's constants of type Kind.
func kinds(t *testing.T) (all []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../proxy/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if name, ok := v.Type.(*ast.Ident); ok && name.Name == "Kind" {
				kind, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, kind)
			}
		}
		return true
	})
	if len(all) < 20 {
		t.Fatalf("found only the kinds %q", all)
	}
	return all
}

// jsonFields are the names that a record's fields have in JSON.
func jsonFields(of reflect.Type) (all []string) {
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, name)
	}
	return all
}

// same compares what is documented with what there is.
func same(t *testing.T, what string, documented, there []string) {
	t.Helper()
	for _, name := range there {
		if !slices.Contains(documented, name) {
			t.Errorf("%s %s is not documented", what, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(there, name) {
			t.Errorf("%s %s is documented, and is none", what, name)
		}
	}
}

// TestTheRecordModelIsDocumented holds docs/records.md to the code: every kind and every field, and none that is not.
func TestTheRecordModelIsDocumented(t *testing.T) {
	text := document(t, "records.md")
	same(t, "kind", firstColumn(section(t, text, "Kinds")), kinds(t))
	same(t, "field", firstColumn(section(t, text, "Fields")), jsonFields(reflect.TypeFor[audit.Record]()))
	same(t, "field of tls", firstColumn(section(t, text, "TLS on both legs")), jsonFields(reflect.TypeFor[audit.TLS]()))
	if !strings.Contains(text, "This is version "+strconv.Itoa(audit.Model)+" of the record model") {
		t.Errorf("the documented model is not %d", audit.Model)
	}
}

// TestDocumentsNameWhatThereIs finds commands, flags, settings and kinds in the documents that the program does not have.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	known := map[string]bool{}
	for _, name := range slices.Concat(kinds(t), jsonFields(reflect.TypeFor[audit.Record]()), jsonFields(reflect.TypeFor[audit.TLS]())) {
		known[name] = true
	}
	for _, s := range config.Settings {
		known[s.Key()], known["--"+s.Name], known[s.Variable()] = true, true, true
	}
	stable, metrics := slices.Collect(maps.Keys(known)), textOf(t, "../../web/*.go")
	records := document(t, "records.md")
	for _, name := range []string{"records.md", "compliance.md"} {
		text := document(t, name)
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(m[1])
			switch {
			case words[0] == "postern" && len(words) > 1:
				checkCommand(t, name, words[1:])
			case len(words) > 1 && words[1] == "=", strings.HasPrefix(m[1], "POSTERN_"), strings.HasPrefix(m[1], "--"):
				if setting, _, _ := strings.Cut(words[0], "="); !slices.Contains(stable, setting) && !isFlag(newRoot(), setting) {
					t.Errorf("%s: there is no setting %s", name, words[0])
				}
			case strings.HasPrefix(m[1], "postern_"):
				if !strings.Contains(metrics, `"`+strings.TrimPrefix(m[1], "postern_")+`"`) {
					t.Errorf("%s: there is no metric %s", name, m[1])
				}
			case name == "compliance.md" && plainName.MatchString(m[1]) && !slices.Contains(stable, m[1]) && !strings.Contains(records, m[0]):
				t.Errorf("%s: %s is no kind, field, setting or name that records.md explains", name, m[1])
			}
		}
	}
}

// textOf returns the text of all files that a pattern matches.
func textOf(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

var plainName = regexp.MustCompile(`^[a-z0-9_]+$`)

// checkCommand fails unless the words name a command of postern's, with flags that it has.
func checkCommand(t *testing.T, document string, words []string) {
	t.Helper()
	cmd, rest, err := newRoot().Find(words)
	if err != nil || cmd == cmd.Root() {
		t.Errorf("%s: there is no postern %s", document, strings.Join(words, " "))
		return
	}
	for _, word := range rest {
		if flag, _, _ := strings.Cut(word, "="); strings.HasPrefix(flag, "--") && cmd.Flags().Lookup(flag[2:]) == nil {
			t.Errorf("%s: postern %s has no %s", document, cmd.Name(), flag)
		}
	}
}

// isFlag tells whether any command has a flag.
func isFlag(cmd *cobra.Command, flag string) bool {
	if cmd.Flags().Lookup(strings.TrimPrefix(flag, "--")) != nil {
		return true
	}
	return slices.ContainsFunc(cmd.Commands(), func(c *cobra.Command) bool { return isFlag(c, flag) })
}
