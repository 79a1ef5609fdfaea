package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// A log that a newer postern made is not touched, and every command says what to do.
func TestALogOfANewerPosternIsRefused(t *testing.T) {
	dir, _ := sampleLog(t)
	path := filepath.Join(dir, "audit.db")
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"tail", "sessions", "verify", "serve --backend 127.0.0.1:1 --tls-local --listen-pop3 127.0.0.1:0 --listen-pop3s 127.0.0.1:0 --web="} {
		got := invoke(t, strings.Split(args+" --data-dir "+dir, " ")...)
		if got.code != 1 || !strings.Contains(got.err, "made by a newer postern: its schema is 99, this one knows up to 2: upgrade postern") {
			t.Errorf("%s: %d, %s", args, got.code, got.err)
		}
	}
	var version, records int
	if err := db.QueryRow("SELECT user_version, (SELECT count(*) FROM records) FROM pragma_user_version").Scan(&version, &records); err != nil ||
		version != 99 || records != 16 {
		t.Errorf("the log has version %d and %d records, %v", version, records, err)
	}
}
