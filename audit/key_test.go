package audit

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

const testOrigin = "postern/0123456789abcdef"

func makeKey(t *testing.T, path string) *key {
	t.Helper()
	k, err := openKey(path, testOrigin, "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	k := makeKey(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := openKey(path, testOrigin, k.verifier)
	if err != nil || again.text != k.text || again.pseudonym != k.pseudonym {
		t.Errorf("read again: %v", err)
	}
	v, err := note.NewVerifier(k.verifier)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := k.signer.Sign([]byte("text"))
	if err != nil || !v.Verify([]byte("text"), sig) || v.Name() != testOrigin {
		t.Errorf("%s does not verify what the key signs, %v", k.verifier, err)
	}
}

func TestKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.key")
	k := makeKey(t, path)
	other := makeKey(t, filepath.Join(dir, "other.key"))
	garbage := filepath.Join(dir, "garbage.key")
	if err := os.WriteFile(garbage, []byte(k.text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loose := filepath.Join(dir, "loose.key")
	copyFile(t, path, loose)
	if err := os.Chmod(loose, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, origin, verifier, want string }{
		{"loose", loose, testOrigin, k.verifier, "chmod 600 " + loose},
		{"garbage", garbage, testOrigin, k.verifier, "not a key of postern's"},
		{"lost", filepath.Join(dir, "none"), testOrigin, k.verifier, "postern key rotate --lost"},
		{"not the last", path, testOrigin, other.verifier, "is not the key that this log was last signed with"},
		{"of another log", path, "postern/other", "", "is the key of another log, " + testOrigin},
	} {
		_, err := openKey(c.path, c.origin, c.verifier)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), k.text[len(k.text)-20:]) {
			t.Errorf("%s: the error tells the key", c.name)
		}
	}
}

func TestSuccessorIsVouchedFor(t *testing.T) {
	k := makeKey(t, filepath.Join(t.TempDir(), "audit.key"))
	next, err := k.successor()
	if err != nil || next.pseudonym != k.pseudonym || next.verifier == k.verifier {
		t.Fatalf("successor: %v", err)
	}
	signature, err := k.vouch(next.verifier)
	if err != nil || !vouched(k.verifier, next.verifier, signature) {
		t.Errorf("%q, %v does not vouch", signature, err)
	}
	if vouched(k.verifier, k.verifier, signature) || vouched(next.verifier, next.verifier, signature) ||
		vouched(k.verifier, next.verifier, "") || vouched("", next.verifier, signature) {
		t.Error("it vouches for anything")
	}
}

func TestACrashOfARotationIsFinished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.key")
	k := makeKey(t, path)
	next, err := k.successor()
	if err != nil {
		t.Fatal(err)
	}
	// The crash came before the record was on disk: the old key stays.
	if err := next.write(nextKey(path)); err != nil {
		t.Fatal(err)
	}
	if got, err := openKey(path, testOrigin, k.verifier); err != nil || got.verifier != k.verifier {
		t.Errorf("before its record: %v", err)
	}
	if _, err := os.Stat(nextKey(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the next key is left: %v", err)
	}
	// The crash came after it.
	if err := next.write(nextKey(path)); err != nil {
		t.Fatal(err)
	}
	if got, err := openKey(path, testOrigin, next.verifier); err != nil || got.verifier != next.verifier {
		t.Errorf("after its record: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), k.text) {
		t.Errorf("the old key is left: %v", err)
	}
}

func TestALogKeepsItsKey(t *testing.T) {
	l := openLog(t, Options{})
	verifier := records(t, l.opts.Path)[0].Arg
	keep(t, l, connect(newID()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if k, err := readKey(l.opts.Key); err != nil || k.verifier != verifier {
		t.Errorf("the log says %s, the file %v", verifier, err)
	}
	again := openLog(t, Options{Path: l.opts.Path})
	recs := records(t, again.opts.Path)
	if got := recs[len(recs)-1]; got.Kind != "start" || got.Arg != verifier {
		t.Errorf("the second start says %+v", got)
	}
	again.Close()
	if err := os.Chmod(l.opts.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Options{Path: l.opts.Path}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that all may read: %v", err)
	}
}
