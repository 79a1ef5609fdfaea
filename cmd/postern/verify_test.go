package main

import (
	"database/sql"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/audit"
	"postern/proxy"
)

// recorded is a closed log with a session in it.
func recorded(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := audit.Open(t.Context(), audit.Options{Path: filepath.Join(dir, "audit.db")})
	if err != nil {
		t.Fatal(err)
	}
	id := proxy.NewSessionID(time.Now())
	for _, ev := range []proxy.Event{
		{Session: id, Time: time.Now(), Kind: proxy.KindConnect, Peer: netip.MustParseAddrPort("192.0.2.7:4711"), Listener: "pop3s", Text: "ready",
			TLS: &proxy.TLS{Version: "TLS 1.3"}},
		{Session: id, Time: time.Now(), Kind: proxy.KindCommand, Verb: "PASS", Arg: proxy.Redacted, Status: "+OK", User: "ada", Login: proxy.LoginOK},
		{Session: id, Time: time.Now(), Kind: proxy.KindCommand, Verb: "RETR", Arg: "1", Status: "+OK", Text: "caf\xe9 \x1b[31m", UID: "uid1", Message: 1},
		{Session: id, Time: time.Now(), Kind: proxy.KindEnd, Side: proxy.SideClient, Detail: "quit"},
	} {
		l.Record(ev)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// alter changes the log in dir behind Postern's back.
func alter(t *testing.T, dir, query string) {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "audit.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// wantPrinted checks an exit code and parts of what is printed.
func wantPrinted(t *testing.T, got spoken, code int, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got.out+got.err, part) {
			t.Errorf("not printed: %q", part)
		}
	}
	if got.code != code || t.Failed() {
		t.Errorf("exit %d, want %d\n%s\n%s", got.code, code, got.out, got.err)
	}
	if strings.ContainsAny(got.out+got.err, "\r\x1b") {
		t.Errorf("escape codes, and no terminal: %q", got.out+got.err)
	}
}

func TestVerifyTellsTheTruth(t *testing.T) {
	dir := recorded(t)
	wantPrinted(t, invoke(t, "verify", "--data-dir", dir), 0, "is as it was written", "from the first on", "1 add up", "SHA256:")
	wantPrinted(t, invoke(t, "verify", "--data-dir", dir, "--full"), 0, "is as it was written")
	info, err := os.Stat(filepath.Join(dir, "audit.verified"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the verified checkpoint: %v, %v", info, err)
	}
	wantPrinted(t, invoke(t, "verify", "--data-dir", dir, "--key", "nobody"), 2, "neither a verifier key")
	wantPrinted(t, invoke(t, "verify", "--data-dir", t.TempDir()), 1, "no audit log at")

	alter(t, dir, "UPDATE records SET user = 'eve' WHERE seq = 3")
	wantPrinted(t, invoke(t, "verify", "--data-dir", dir, "--full"), 1, "is NOT as it was written", "records seq 3: altered")
	got := invoke(t, "verify", "--data-dir", dir, "--full", "--json")
	var v audit.Verdict
	if err := json.Unmarshal([]byte(got.out), &v); err != nil || v.OK || v.Count < 1 || v.Findings[0].Key != "seq 3" || got.code != 1 {
		t.Errorf("%+v, %v, exit %d", v, err, got.code)
	}
}

// Nobody who reads the verdict's first line only may take an altered log for a good one, nor a proof that proves nothing.
func TestABrokenPipeHidesNoVerdict(t *testing.T) {
	dir := recorded(t)
	alter(t, dir, "UPDATE records SET user = 'eve' WHERE seq = 3")
	for _, args := range [][]string{{"verify", "--full"}, {"verify", "--full", "--json"}} {
		err := run(t.Context(), append(args, "--data-dir", dir), strings.NewReader(""), brokenPipe{}, io.Discard)
		if exitCode(err) != 1 || !strings.Contains(err.Error(), "not as it was written") {
			t.Errorf("%v of an altered log ended with %v", args, err)
		}
	}
}

// TestALogUnderWayIsVerified verifies and proves while serve writes, rotates its key, and follows from the first to the last.
func TestALogUnderWayIsVerified(t *testing.T) {
	g := newGate(t, nil)
	anchors := filepath.Join(t.TempDir(), "anchors")
	stop := g.launch(t, g.args("127.0.0.1:1", []string{"--audit-anchor-file", anchors, "--audit-anchor-every", "1s"}))
	first := strings.TrimSpace(invoke(t, "key", "export", "--data-dir", g.dir).out)
	wantPrinted(t, invoke(t, "verify", "--data-dir", g.dir, "--full", "--key", first), 0, "is as it was written", "were not checked")

	rotated := invoke(t, "key", "rotate", "--data-dir", g.dir)
	wantPrinted(t, rotated, 0, "The old key vouches for this one", "fingerprint SHA256:")
	second := strings.TrimSpace(rotated.out)
	if now := strings.TrimSpace(invoke(t, "key", "export", "--data-dir", g.dir).out); now != second || second == first {
		t.Errorf("the key is %s, then %s, then %s", first, second, now)
	}
	wantPrinted(t, invoke(t, "key", "rotate", "--lost", "--data-dir", g.dir), 1, "written by another postern")
	for _, key := range []string{first, second} {
		wantPrinted(t, invoke(t, "verify", "--data-dir", g.dir, "--key", key), 0, "is as it was written")
		proof := filepath.Join(t.TempDir(), "proof")
		wantPrinted(t, invoke(t, "prove", "1", "-o", proof, "--data-dir", g.dir), 0)
		wantPrinted(t, invoke(t, "verify-proof", proof, "--key", key), 0, "Record 1 is in the log", "start", second)
	}
	eventually(t, "an anchor", func() bool { text, _ := os.ReadFile(anchors); return len(text) > 0 }, g.showLog)
	stop()
	wantPrinted(t, invoke(t, "verify", "--data-dir", g.dir, "--full", "--key", first, "--audit-anchor-file", anchors), 0, "is as it was written")
	alter(t, g.dir, "DELETE FROM records WHERE seq > 5; DELETE FROM checkpoints WHERE size > 5")
	wantPrinted(t, invoke(t, "verify", "--data-dir", g.dir, "--full", "--anchor", anchors), 1, "rolled back", "is an older copy, or its end was cut off")
}

// checker builds the independent program.
func checker(t *testing.T) (check func(args ...string) (out string, code int)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkproof")
	if out, err := exec.Command("go", "build", "-o", path, "../../docs/checkproof").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return func(args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), path, args...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
}

func TestProofsAreChecked(t *testing.T) {
	dir, check := recorded(t), checker(t)
	key := strings.TrimSpace(invoke(t, "key", "export", "--data-dir", dir).out)
	for seq, parts := range map[string][]string{"2": {"192.0.2.7", "TLS 1.3"}, "3": {"ada", "PASS"}, "4": {`\x1b[31m`}} {
		path := filepath.Join(t.TempDir(), "proof")
		wantPrinted(t, invoke(t, "prove", seq, "-o", path, "--data-dir", dir), 0)
		if seq == "4" { // whose text is no UTF-8
			parts = []string{"uid1"}
		}
		wantPrinted(t, invoke(t, "verify-proof", path, "--key", key), 0, append(parts, "Record "+seq+" is in the log")...)
		wantPrinted(t, invoke(t, "verify-proof", path), 0, "Is that the log's key?")
		if out, code := check(path, key); code != 0 || !strings.Contains(out, "record "+seq+" of the ") {
			t.Errorf("exit %d: %s", code, out)
		}
		refusesAllElse(t, path, key, check)
	}
	wantPrinted(t, invoke(t, "prove", "4711", "--data-dir", dir), 1, "there is no record 4711 yet: the newest is ")
	wantPrinted(t, invoke(t, "prove", "x", "--data-dir", dir), 2, "is not the number of a record")
	wantPrinted(t, invoke(t, "prove", "1", "-o", dir, "--data-dir", dir), 1, "is there already", "name a file that is not")
}

// refusesAllElse changes the proof in many places, one at a time: neither checker may take it then.
func refusesAllElse(t *testing.T, path, key string, check func(...string) (string, int)) {
	t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	for i := 0; i < len(good); i += 1 + len(good)/150 {
		if isPassedOver(good, i) {
			continue
		}
		text := append([]byte{}, good...)
		if text[i]++; good[i] == '9' || good[i] == 'z' || good[i] == 'Z' {
			text[i] = good[i] - 1
		}
		if err := os.WriteFile(bad, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := check(bad, key); code == 0 {
			t.Errorf("checkproof takes %q in place of %q at octet %d: %s", text[i], good[i], i, out)
		}
		if got := invoke(t, "verify-proof", bad, "--key", key); got.code == 0 {
			t.Errorf("verify-proof takes %q in place of %q at octet %d", text[i], good[i], i)
		}
	}
	other := strings.TrimSpace(invoke(t, "key", "export", "--data-dir", recorded(t)).out)
	if out, code := check(path, other); code != 1 || !strings.Contains(out, "does not vouch") {
		t.Errorf("checkproof with another key: exit %d, %s", code, out)
	}
	wantPrinted(t, invoke(t, "verify-proof", path, "--key", other), 1, "no key that was given vouches")
}

// isPassedOver tells whether octet i vouches for nothing: white space, the names of fields and groups, which checkproof has
// its own of, and which record named a key.
func isPassedOver(text []byte, i int) bool {
	if strings.ContainsRune(" \n", rune(text[i])) {
		return true
	}
	line := string(text[strings.LastIndexByte(string(text[:i]), '\n')+1:])
	line, _, _ = strings.Cut(line, "\n")
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, `"name"`) || strings.HasPrefix(line, `"record"`)
}

func TestALostKeyIsReplaced(t *testing.T) {
	dir := recorded(t)
	wantPrinted(t, invoke(t, "key", "rotate", "--lost", "--data-dir", dir), 1, "the key is not lost")
	if err := os.Remove(filepath.Join(dir, "audit.key")); err != nil {
		t.Fatal(err)
	}
	wantPrinted(t, invoke(t, "key", "rotate", "--data-dir", dir), 1, "postern key rotate --lost")
	got := invoke(t, "key", "rotate", "--lost", "--data-dir", dir)
	wantPrinted(t, got, 0, "Nothing vouches for this key")
	wantPrinted(t, invoke(t, "verify", "--full", "--data-dir", dir), 1, "chain broken", "--key "+strings.TrimSpace(got.out))
	wantPrinted(t, invoke(t, "verify", "--full", "--data-dir", dir, "--key", strings.TrimSpace(got.out)), 0)
}
