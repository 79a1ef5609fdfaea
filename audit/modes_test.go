package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log that others may read or change is refused, with the command that mends it, and left as it is.
func TestALogOpenToOthersIsRefused(t *testing.T) {
	for _, test := range []struct {
		name string // of the file or directory
		mode fs.FileMode
		want string // "" is that it opens
	}{
		{"audit.db", 0o640, "chmod 600 DIR/audit.db"},
		{"audit.db", 0o604, "chmod 600 DIR/audit.db"},
		{"audit.db", 0o620, "chmod 600 DIR/audit.db"},
		{"audit.db-wal", 0o644, "chmod 600 DIR/audit.db-wal"},
		{"audit.key", 0o640, "chmod 600 DIR/audit.key"},
		{"", 0o770, "chmod go-w DIR"},
		{"", 0o707, "chmod go-w DIR"},
		{"", 0o755, ""},
		{"", 0o700, ""},
		{"", 0o777 | fs.ModeSticky, ""},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.db")
		openLog(t, Options{Path: path}).Close()
		if test.name == "audit.db-wal" {
			if err := os.WriteFile(path+"-wal", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, test.name), test.mode); err != nil {
			t.Fatal(err)
		}
		l, err := Open(t.Context(), Options{Path: path})
		if err == nil {
			l.Close()
		}
		if test.want == "" {
			if err != nil {
				t.Errorf("%v: %v", test.mode, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(test.want, "DIR", dir)) {
			t.Errorf("%s %v: got %v", test.name, test.mode, err)
		}
		if test.name != "audit.key" && !errors.Is(err, ErrLoose) {
			t.Errorf("%s %v: got %v", test.name, test.mode, err)
		}
		if info, err := os.Stat(filepath.Join(dir, test.name)); err != nil || info.Mode().Perm() != test.mode.Perm() {
			t.Errorf("%s was changed: %v, %v", test.name, info.Mode(), err)
		}
	}
}
