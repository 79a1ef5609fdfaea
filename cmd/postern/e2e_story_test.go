package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"postern/cmd/internal/peers"
)

// The whole story: a mail client reads real mail from Dovecot through the gate, and what it did stands in the
// terminal, while it happens and afterwards, and in the browser.
func TestStory(t *testing.T) {
	t.Parallel()
	alice := peers.Account{User: "alice", Password: "e2e story 6Rv1", Mail: peers.Small(4)}
	backend := peers.Dovecot(t, alice)
	g := serve(t, backend.Addr, []peers.Account{alice})
	live := g.tail(t)
	page := browse(t, "http://"+g.web+"/")

	client := peers.Named("Net::POP3") // it sends its password as it is
	peers.Same(t, client.Fetch(t, backend.Target(peers.TLS, alice), 4), client.Fetch(t, g.target(peers.TLS, alice), 4))

	s := g.newest(t)
	id := s.ID.String()
	told := []string{"alice", "RETR", "1", "4", "QUIT", "+OK"}
	contains(t, "postern session", g.command(t, "session", id), append(told, "<redacted>", id)...)
	contains(t, "postern session --json", g.command(t, "session", "--json", id),
		`"verb":"RETR"`, `"message":4`, `"kind":"opened"`)
	contains(t, "postern sessions", g.command(t, "sessions"), id, "alice", "127.0.0.1")
	contains(t, "postern sessions --json", g.command(t, "sessions", "--json"), `"id":"`+id+`"`, `"retrieved":4`)
	eventually(t, "postern tail to tell of the end", func() bool {
		return strings.Contains(string(live.bytes()), `"verb":"QUIT"`)
	})
	contains(t, "postern tail --json", string(live.bytes()), id, `"verb":"RETR"`, `"message":4`, `"mechanism":"USER"`)

	page.waitFor(t, `a[href="#/session/`+id+`"]`, "alice")
	page.run(t, chromedp.Navigate("http://"+g.web+"/#/session/"+id))
	page.waitFor(t, "#transcript", told...)
	for _, text := range [][]byte{live.bytes(), []byte(page.text(t, "body"))} {
		g.secrets.search(t, "what a person sees", text)
	}
}

func contains(t *testing.T, where, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not tell %q:\n%.2000s", where, w, text)
		}
	}
}

// tail runs postern tail --json beside the gate, until the test ends.
func (g *gate) tail(t *testing.T) *logBuffer {
	t.Helper()
	out, errs := &logBuffer{}, &logBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"tail", "--json", "--data-dir", g.dir}, strings.NewReader(""), out, errs)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("postern tail: %v\n%s", err, errs.bytes())
		}
	})
	return out
}

// browser is a Chromium that shows one page.
type browser struct{ ctx context.Context }

// browse opens url.
func browse(t *testing.T, url string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(peers.Need(t, "chromium", "chromium")),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WindowSize(1280, 900), chromedp.UserDataDir(profileDir(t)))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{ctx}
	b.run(t, chromedp.Navigate(url))
	return b
}

// profileDir is a folder that Chromium may still write to while it ends.
func profileDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "profile")
}

func (b *browser) run(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		t.Fatalf("browser: %v", err)
	}
}

// text returns what a person reads in an element, "" when there is none.
func (b *browser) text(t *testing.T, selector string) string {
	t.Helper()
	script := fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector)
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script))
	if err != nil {
		t.Fatalf("browser: %v", err)
	}
	return text
}

// waitFor waits until an element reads all of want.
func (b *browser) waitFor(t *testing.T, selector string, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the page to show %q in %s", want, selector), func() bool {
		text := b.text(t, selector)
		for _, w := range want {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}, func(t *testing.T) { t.Logf("the page shows:\n%s", b.text(t, "body")) })
}

// fetch gets a path of the dashboard's server.
func (g *gate) fetch(t *testing.T, path string) []byte {
	t.Helper()
	client := http.Client{Timeout: patience}
	answer, err := client.Get("http://" + g.web + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s, %v: %.300s", path, answer.Status, err, body)
	}
	return body
}

// frames collects what the dashboard's WebSocket sends. No extension is offered, so the frames are in clear.
func (g *gate) frames(t *testing.T) *logBuffer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.web, patience)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * patience))
	fmt.Fprintf(conn, "GET /ws?after=0 HTTP/1.1\r\nHost: %s\r\nOrigin: http://%[1]s\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cG9zdGVybiBlMmUgdGVzdA==\r\n\r\n", g.web)
	out := &logBuffer{}
	ended := make(chan struct{})
	go func() {
		io.Copy(out, conn) // ends when the connection is closed
		close(ended)
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return out
}
