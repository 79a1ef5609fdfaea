package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"postern/audit"
	"postern/cmd/internal/config"
)

// A whole serve, anchored at once in a file, on stdout and at a webhook, by flags alone. The last checkpoint, which covers
// the stop record, arrives at all three before it ends.
func TestServeIsAnchored(t *testing.T) {
	var posted atomic.Pointer[string]
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		text := b.String()
		posted.Store(&text)
	}))
	defer hook.Close()
	g, file, out := newGate(t, nil), filepath.Join(t.TempDir(), "anchors"), &logBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, g.args("127.0.0.1:1", []string{"--audit-anchor-file", file, "--audit-anchor-stdout", "--audit-anchor-webhook", hook.URL,
			"--audit-anchor-every", "1h"}), strings.NewReader(""), out, g.log)
	}()
	g.waitReady(t)
	eventually(t, "the first checkpoint at three anchors", func() bool {
		var page struct {
			Anchors []struct {
				Size int64
				Lag  int64 `json:"lag_records"`
			}
		}
		if err := json.Unmarshal([]byte(get(t, "http://"+g.web+"/api/anchors")), &page); err != nil || len(page.Anchors) != 3 {
			t.Fatalf("%+v, %v", page, err)
		}
		return page.Anchors[0].Size > 0 && page.Anchors[1].Size > 0 && page.Anchors[2].Size > 0
	}, g.showLog)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	r := g.reader(t)
	last, err := r.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out.bytes())), "\n")
	var printed struct {
		Size int64
		Note string
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &printed); err != nil || printed.Size != last {
		t.Errorf("printed %s, the log has %d records, %v", lines, last, err)
	}
	if !strings.HasSuffix(string(notes), printed.Note) || *posted.Load() != printed.Note {
		t.Errorf("the file ends with %q, posted was %q", notes, *posted.Load())
	}
	g.showLog(t)
}

func TestAnchorsThatCannotBe(t *testing.T) {
	const key = "witness.example.org/w1+bcb4dd6b+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
	for _, test := range []struct {
		args string
		want []string
	}{
		{"--audit-anchor-webhook http://anchors.example.org/token", []string{"--audit-anchor-webhook: not an https:// URL, and http:// is for this machine only",
			"write it like --audit-anchor-webhook=https://anchors.example.org/postern"}},
		{"--audit-anchor-webhook ftp://x/", []string{"not an https:// or http:// URL"}},
		{"--audit-anchor-witness witness.example.org", []string{"--audit-anchor-witness: not an https:// or http:// URL"}},
		{"--audit-anchor-witness https://w.example.org", []string{"1 witnesses and 0 keys", "give each --audit-anchor-witness one --audit-anchor-witness-key"}},
		{"--audit-anchor-witness https://w.example.org --audit-anchor-witness-key " + strings.Replace(key, "BOvN", "BOvM", 1),
			[]string{"a letter is wrong", "copy the key whole"}},
		{"--audit-anchor-every 10ms", []string{"10ms is less than 1s"}},
	} {
		got := invoke(t, strings.Split("serve --backend m:1 --tls-local --data-dir "+t.TempDir()+" "+test.args, " ")...)
		for _, want := range test.want {
			if got.code != 2 || !strings.Contains(got.err, want) {
				t.Errorf("%s: %q is missing from\n%s", test.args, want, got.err)
			}
		}
		if strings.Contains(got.err, "token") {
			t.Errorf("a URL is told:\n%s", got.err)
		}
	}
	if _, err := audit.ParseWitness(key); err != nil {
		t.Errorf("the example of the settings: %v", err)
	}
}

func TestAnAnchorBesideTheLogIsWarnedOf(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]bool{"": false, dir + "/anchors": true, dir + "/x/../y/anchors": true, dir + "-worm/anchors": false, "/mnt/worm": false} {
		if got := len(anchorWarnings(fileAnchor(dir, path))) > 0; got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func fileAnchor(dir, path string) *config.Config {
	c := config.Default()
	c.DataDir, c.AnchorFile = dir, path
	return c
}
