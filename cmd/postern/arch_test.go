package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The shape of the house: which package may import what. Tests may import more.
const module = "postern/"

// testSupport is imported by tests only, and so like them may import more.
const testSupport = "tlsup/acmetest"

// arrows names, for each package, the packages of ours that it may import.
var arrows = map[string][]string{
	"cmd/postern": {"audit", "audit/anchor", "cmd/internal/config", "cmd/internal/control", "cmd/internal/popd", "cmd/internal/show",
		"cmd/internal/traffic", "proxy", "tlsup", "web"},
	"cmd/internal/bench":   {"audit", "proxy", "tlsup"}, // a program of its own, no part of postern
	"cmd/internal/config":  nil,
	"cmd/internal/control": nil,
	"cmd/internal/peers":   nil,
	"cmd/internal/popd":    nil,
	"cmd/internal/show":    {"audit", "proxy"},
	"cmd/internal/traffic": nil,
	"docs/checkproof":      nil,
	"proxy":                {"proxy/pop3"},
	"proxy/pop3":           nil,
	"tlsup":                nil,
	testSupport:            nil,
	"audit":                {"proxy"},
	"audit/anchor":         {"audit", "proxy"},
	"web":                  {"audit", "proxy"},
}

// doors names the one package through which each third-party module enters.
var doors = map[string]string{
	"github.com/spf13/cobra":              "cmd/postern",
	"github.com/spf13/pflag":              "cmd/postern",
	"github.com/pelletier/go-toml/v2":     "cmd/internal/config",
	"github.com/caddyserver/certmagic":    "tlsup",
	"github.com/fsnotify/fsnotify":        "tlsup",
	"github.com/mholt/acmez/v3":           "tlsup",
	"github.com/miekg/dns":                "tlsup",
	"go.uber.org/zap":                     "tlsup",
	"github.com/mattn/go-sqlite3":         "audit",
	"golang.org/x/mod":                    "audit",
	"github.com/gorilla/websocket":        "web",
	"github.com/prometheus/client_golang": "web",
}

// closed names what the relay, its grammar and the TLS front must not know.
var closed = map[string][]string{
	"proxy":        {"C", "database/sql", "net/http", "os/exec"},
	"proxy/pop3":   {"C", "database/sql", "net/http", "net", "os", "os/exec", "crypto/tls"},
	"tlsup":        {"C", "database/sql"},
	"web":          {"C", "database/sql", "os/exec"},
	"audit":        {"net/http", "os/exec"},
	"audit/anchor": {"C", "database/sql", "os/exec"},
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

// packages lists all packages of this module.
func packages(t *testing.T) (all []listed) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", "postern/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < len(arrows) {
		t.Fatalf("go list knows %d packages, want at least %d", len(all), len(arrows))
	}
	return all
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s has no place in the architecture: give it one in arrows", name)
			continue
		}
		for _, path := range p.Imports {
			if ours, ok := strings.CutPrefix(path, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
			if slices.Contains(closed[name], path) {
				t.Errorf("%s must not import %s", name, path)
			}
			if name != testSupport {
				checkDoor(t, name, path)
			}
		}
	}
}

// checkDoor holds a third-party import to the one package its module enters through.
func checkDoor(t *testing.T, name, path string) {
	t.Helper()
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return // the standard library, or ours
	}
	for root, door := range doors {
		if path == root || strings.HasPrefix(path, root+"/") {
			if name != door {
				t.Errorf("%s must not import %s: that enters through %s", name, path, door)
			}
			return
		}
	}
	t.Errorf("%s imports %s, whose module has no door", name, path)
}

// A package opens with 3 to 15 lines, invariants listed below them not counted.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		var comments []string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				comments = append(comments, file.Doc.Text())
			}
		}
		if len(comments) != 1 {
			t.Errorf("%s has %d package comments", p.ImportPath, len(comments))
			continue
		}
		prose, invariants, _ := strings.Cut(comments[0], "\nInvariants:\n")
		if _, after, ok := strings.Cut(invariants, "\n\n"); ok {
			prose += after
		}
		if n := strings.Count(prose, "\n"); n < 3 || n > 15 {
			t.Errorf("%s opens with %d lines, want 3 to 15", p.ImportPath, n)
		}
	}
}

// TestTheTopLevelIsTheUsersWish holds the layout of the repository.
func TestTheTopLevelIsTheUsersWish(t *testing.T) {
	allowed := []string{"LICENSE", "Makefile", "README.md", "audit", "cmd", "docs", "go.mod", "go.sum",
		"postern", // made by make build, and not in the repository
		"proxy", "tlsup", "web"}
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s stands at the top level", e.Name())
		}
	}
}
