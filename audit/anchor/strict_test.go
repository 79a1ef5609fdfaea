package anchor

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"postern/audit"
)

// strict is a witness in memory, written word by word after C2SP tlog-witness and tlog-cosignature. It knows one log, and
// takes no request that bends the grammar.
type strict struct {
	*httptest.Server
	name string
	key  ed25519.PrivateKey
	log  note.Verifier

	mu       sync.Mutex
	size     int64
	root     tlog.Hash
	requests int
	bad      []string // what was wrong with requests
	instead  http.HandlerFunc
}

func newStrict(t *testing.T, s *scene) *strict {
	t.Helper()
	verifier, err := s.log.Reader().Verifier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log, err := note.NewVerifier(verifier)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &strict{name: "witness.example.org/w1", key: key, log: log}
	w.Server = httptest.NewServer(w)
	t.Cleanup(func() {
		w.Close()
		if len(w.bad) > 0 {
			t.Errorf("the witness had bad requests: %q", w.bad)
		}
	})
	return w
}

func (w *strict) keyID() []byte {
	sum := sha256.Sum256(append([]byte(w.name+"\n\x04"), w.key.Public().(ed25519.PublicKey)...))
	return sum[:4]
}

// place is the witness as the settings name it.
func (w *strict) place(t *testing.T) Witness {
	t.Helper()
	material := append([]byte{4}, w.key.Public().(ed25519.PublicKey)...)
	key, err := audit.ParseWitness(fmt.Sprintf("%s+%x+%s", w.name, w.keyID(), base64.StdEncoding.EncodeToString(material)))
	if err != nil {
		t.Fatal(err)
	}
	return Witness{URL: w.URL, Key: key}
}

func (w *strict) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.requests++
	instead := w.instead
	w.mu.Unlock()
	if instead != nil {
		instead(rw, r)
		return
	}
	w.serve(rw, r)
}

func (w *strict) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Method != http.MethodPost || r.URL.Path != "/add-checkpoint" {
		w.bad = append(w.bad, r.Method+" "+r.URL.Path)
		http.NotFound(rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = w.add(rw, string(body))
	}
	if err != nil {
		w.bad = append(w.bad, err.Error())
		http.Error(rw, err.Error(), http.StatusBadRequest)
	}
}

var oldLine = regexp.MustCompile(`^old (0|[1-9][0-9]*)$`)

// add answers one request. Its error is what is wrong with the request's form.
func (w *strict) add(rw http.ResponseWriter, body string) error {
	head, signed, ok := strings.Cut(body, "\n\n")
	lines := strings.Split(head, "\n")
	m := oldLine.FindStringSubmatch(lines[0])
	if !ok || m == nil || len(lines)-1 > 63 {
		return fmt.Errorf("malformed request %q", body)
	}
	old, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return err
	}
	proof := tlog.TreeProof{}
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, h)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(w.log))
	if err != nil {
		http.Error(rw, "no trusted signature", http.StatusForbidden)
		return nil
	}
	size, root, err := head3(n.Text, w.log.Name())
	switch {
	case err != nil:
		return err
	case old > size || old == 0 && len(proof) > 0:
		return errors.New("old size and proof do not fit")
	}
	w.decide(rw, n.Text, old, size, root, proof)
	return nil
}

func head3(text, origin string) (size int64, root tlog.Hash, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != origin {
		return 0, root, fmt.Errorf("malformed checkpoint %q", text)
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return 0, root, err
	}
	root, err = tlog.ParseHash(lines[2])
	return size, root, err
}

func (w *strict) decide(rw http.ResponseWriter, text string, old, size int64, root tlog.Hash, proof tlog.TreeProof) {
	switch {
	case old != w.size, old == size && root != w.root:
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", w.size)
		return
	case old > 0 && old < size && tlog.CheckTree(proof, size, root, old, w.root) != nil:
		http.Error(rw, "inconsistent", http.StatusUnprocessableEntity)
		return
	}
	w.size, w.root = size, root
	io.WriteString(rw, w.cosign(text))
}

func (w *strict) cosign(text string) (line string) {
	const at = 1679315147
	b := binary.BigEndian.AppendUint64(w.keyID(), at)
	b = append(b, ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	return "— " + w.name + " " + base64.StdEncoding.EncodeToString(b) + "\n"
}

// answers has the witness do something else, until it is nil again.
func (w *strict) answers(instead http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instead = instead
}

func (w *strict) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}
