package audit

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The vectors of Certificate Transparency (github.com/transparency-dev/merkle, testonly and proof).
var (
	ctLeaves = []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	ctRoots  = []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	ctInclusion = []struct {
		leaf, size int64 // from 1
		path       []string
	}{
		{1, 1, nil},
		{1, 8, []string{
			"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
			"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
			"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
		{6, 8, []string{
			"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
			"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
			"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
		{3, 3, []string{"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
		{2, 5, []string{
			"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
			"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
			"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
	}
	ctConsistency = []struct {
		old, size int64
		path      []string
	}{
		{1, 1, nil},
		{1, 8, []string{
			"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
			"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
			"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
		{6, 8, []string{
			"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
			"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
			"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
		{2, 5, []string{
			"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
			"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}},
	}
)

// woods is a database that holds the hashes of a tree and nothing else.
type woods struct {
	*sql.DB
	t *testing.T
	tree
}

func newWoods(t *testing.T) *woods {
	t.Helper()
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // each connection to :memory: is a database of its own
	w := &woods{DB: db, t: t}
	w.exec("CREATE TABLE records(seq INTEGER PRIMARY KEY, hash)")
	w.exec("CREATE TABLE pruned(seq INTEGER PRIMARY KEY, hash)")
	w.exec("CREATE TABLE blocks(level, n, hash, PRIMARY KEY(level, n))")
	return w
}

func (w *woods) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.Exec(query, args...); err != nil {
		w.t.Fatal(err)
	}
}

// grow adds a leaf; every third is one of a deleted record.
func (w *woods) grow(leaf hash) {
	w.t.Helper()
	table := "records"
	if w.size%3 == 2 {
		table = "pruned"
	}
	w.exec("INSERT INTO "+table+" VALUES(?, ?)", w.size+1, leaf[:])
	err := w.append(leaf, func(level int, n int64, root hash) error {
		w.exec("INSERT INTO blocks VALUES(?, ?, ?)", level, n, root[:])
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *woods) reader() hashes { return hashes{w.t.Context(), w.DB} }

func unhex(t *testing.T, text string) hash {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(hash{}) {
		t.Fatalf("%q: %v", text, err)
	}
	return hash(b)
}

func TestCertificateTransparencysVectors(t *testing.T) {
	w := newWoods(t)
	for size, want := range ctRoots {
		if got := w.root(); got != unhex(t, want) {
			t.Errorf("root of %d leaves is %x, want %s", size, got, want)
		}
		if size < len(ctLeaves) {
			data, _ := hex.DecodeString(ctLeaves[size])
			w.grow(tlog.RecordHash(data))
		}
	}
	for _, c := range ctInclusion {
		path, err := tlog.ProveRecord(c.size, c.leaf-1, w.reader())
		wantPath(t, path, err, c.path)
	}
	for _, c := range ctConsistency {
		path, err := tlog.ProveTree(c.size, c.old, w.reader())
		wantPath(t, path, err, c.path)
	}
}

func wantPath(t *testing.T, got []hash, err error, want []string) {
	t.Helper()
	if err != nil || len(got) != len(want) {
		t.Errorf("proof %x, %v, want %s", got, err, want)
		return
	}
	for i := range got {
		if got[i] != unhex(t, want[i]) {
			t.Errorf("hash %d of the proof is %x, want %s", i, got[i], want[i])
		}
	}
}

// rootOf is RFC 6962 section 2.1, word by word.
func rootOf(leaves []hash) hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	left, right := rootOf(leaves[:k]), rootOf(leaves[k:])
	return sha256.Sum256([]byte("\x01" + string(left[:]) + string(right[:])))
}

// TestATreeOverThreeLevels is over more than 65,536 leaves, so that blocks of blocks are made and used.
func TestATreeOverThreeLevels(t *testing.T) {
	w := newWoods(t)
	const size = blockSize*blockSize + 3*blockSize + 77
	var leaves []hash
	w.exec("BEGIN")
	for n := range size {
		leaf := sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)})
		leaves = append(leaves, leaf)
		w.grow(leaf)
	}
	w.exec("COMMIT")
	whole := rootOf(leaves)
	for _, n := range []int64{1, 2, 255, 256, 257, 511, 65_535, 65_536, 65_537, 65_536 + 3*256, size} {
		want := rootOf(leaves[:n])
		loaded, err := loadTree(t.Context(), w.DB, n)
		if err != nil || loaded.root() != want {
			t.Errorf("root of %d is %x, %v, want %x", n, loaded.root(), err, want)
		}
		path, err := tlog.ProveTree(size, n, w.reader())
		if err != nil || tlog.CheckTree(path, size, whole, n, want) != nil {
			t.Errorf("from %d to %d: %v, %v", n, size, err, tlog.CheckTree(path, size, whole, n, want))
		}
		record, err := tlog.ProveRecord(size, n-1, w.reader())
		if err != nil || tlog.CheckRecord(record, size, whole, n-1, leaves[n-1]) != nil {
			t.Errorf("leaf %d: %v", n-1, err)
		}
	}
	if w.root() != whole {
		t.Errorf("root is %x, want %x", w.root(), whole)
	}
	testLostLeaves(t, w, whole)
}

// testLostLeaves takes whole blocks of leaves: the tree is still known, and proofs of all that is left.
func testLostLeaves(t *testing.T, w *woods, whole hash) {
	w.exec("DELETE FROM records WHERE seq <= 512")
	w.exec("DELETE FROM pruned WHERE seq <= 512")
	if root, err := tlog.TreeHash(w.size, w.reader()); err != nil || root != whole {
		t.Errorf("without the leaves of two blocks the root is %x, %v", root, err)
	}
	if _, err := tlog.ProveRecord(w.size, 512, w.reader()); err != nil {
		t.Errorf("the first leaf that is left: %v", err)
	}
	if _, err := tlog.ProveRecord(w.size, 511, w.reader()); !errors.Is(err, ErrNoHash) || !strings.Contains(err.Error(), "of level 0") {
		t.Errorf("a leaf that is not left: %v", err)
	}
}
