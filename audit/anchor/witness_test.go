package anchor

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"postern/audit"
)

// newest returns the newest checkpoint as it is in the database, cosignatures and all.
func (s *scene) stored(size int64) (text string) {
	s.Helper()
	db, err := sql.Open("sqlite3", "file:"+s.path+"?mode=ro")
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT note FROM checkpoints WHERE size = ?", size).Scan(&text); err != nil {
		s.Fatal(err)
	}
	return text
}

func TestAWitnessCosignsAsTheLogGrows(t *testing.T) {
	s := newScene(t)
	w := newStrict(t, s)
	a := s.start(Options{Witnesses: []Witness{w.place(t)}})
	for _, n := range []int{1, 300, 2} {
		got := s.arrives(a, s.grow(n))
		text := s.stored(got.Size)
		lines := strings.Count(text, "\n— ")
		if _, _, err := w.place(t).Key.Cosignature(audit.Checkpoint{Note: text}, text[strings.Index(text, "\n\n")+2:]); err != nil || lines != 2 {
			t.Errorf("%d signatures, %v:\n%s", lines, err, text)
		}
		if got.Kind != KindWitness || got.Name != w.name {
			t.Errorf("status: %+v", got)
		}
	}
	end(a)
	asked := w.asked()
	a = s.start(Options{Witnesses: []Witness{w.place(t)}}) // another run asks where the witness is
	s.arrives(a, s.grow(1))
	if n := w.asked() - asked; n < 2 {
		t.Errorf("%d requests", n)
	}
}

func TestTheLastCheckpointIsCosigned(t *testing.T) {
	s := newScene(t)
	w := newStrict(t, s)
	a := s.start(Options{Witnesses: []Witness{w.place(t)}, Every: time.Hour})
	s.arrives(a, 1)
	if err := s.log.Stop(); err != nil {
		t.Fatal(err)
	}
	end(a)
	last, _ := s.log.Newest()
	if got := a.List()[0]; got.Size != last.Size || !strings.Contains(s.stored(last.Size), "\n— "+w.name+" ") {
		t.Errorf("status: %+v", got)
	}
}

func TestAWitnessThatIsAway(t *testing.T) {
	s := newScene(t)
	w := newStrict(t, s)
	w.answers(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	a := s.start(Options{Witnesses: []Witness{w.place(t)}})
	s.fails(a, "EOF")
	size := s.grow(500)
	w.answers(nil)
	s.arrives(a, size)
}

func TestWitnessesThatMisbehave(t *testing.T) {
	say := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			io.WriteString(rw, body)
		}
	}
	s := newScene(t)
	w := newStrict(t, s)
	other := newStrict(t, s)
	other.name = w.name
	for name, test := range map[string]struct {
		instead http.HandlerFunc
		want    string
	}{
		"garbage":       {say(200, "\x00\xff garbage"), "not signed with the key"},
		"nothing":       {say(200, ""), "not signed with the key"},
		"huge":          {say(200, strings.Repeat("— w AAAA\n", 20_000)), "more than 65536 octets"},
		"endless":       {func(rw http.ResponseWriter, r *http.Request) { endless(rw, r) }, "more than 65536 octets"},
		"another's key": {other.ServeHTTP, "not signed with the key"},
		"bad request":   {say(400, "\x1b[2Jno"), `400 Bad Request: "\x1b[2Jno"`},
		"unknown log":   {say(404, "unknown log"), "ask its operator to add the log " + s.origin() + " with the key " + s.origin() + "+"},
		"unknown key":   {say(403, "no trusted signature"), "ask its operator to add the log"},
		"elsewhere":     {say(302, ""), "redirects are not followed"},
		"broken":        {say(500, "oops"), "500 Internal Server Error"},
		"no size":       {say(409, ""), "409 without a size"},
		"a wrong size":  {say(409, "007\n"), "409 without a size"},
		"a word":        {say(409, "many\n"), "409 without a size"},
		"minus":         {say(409, "-1\n"), "409 without a size"},
		"the same size": {say(409, "0\n"), "409 to the size that it wants"},
	} {
		t.Run(name, func(t *testing.T) {
			w.answers(test.instead)
			a := s.start(Options{Witnesses: []Witness{w.place(t)}})
			if got := s.fails(a, test.want); got.Refused {
				t.Errorf("status: %+v", got)
			}
			w.answers(nil)
			s.arrives(a, 1) // none of it leaves a trace
			end(a)
		})
	}
	if states := s.states(); len(states) > 0 {
		t.Errorf("recorded %+v", states)
	}
}

func endless(rw http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(rw, strings.Repeat("x", 4096)); err != nil {
			return
		}
	}
}

func TestASlowWitnessIsLeft(t *testing.T) {
	s := newScene(t)
	w := newStrict(t, s)
	w.answers(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // or the server does not see that we have left
		<-r.Context().Done()
	})
	p := w.place(t)
	c, _ := s.log.Newest()
	client := newClient("test")
	defer client.close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := newWitness(p, s.log, client).carry(ctx, c); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
	before := w.asked()
	a := s.start(Options{Witnesses: []Witness{p}})
	s.eventually("a request", func() bool { return w.asked() > before })
	s.grow(3)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	a.Close(ctx)
	if took := time.Since(began); took > 10*time.Second || strings.Contains(s.said.String(), "stuck") {
		t.Errorf("closed after %v: %s", took, s.said.String())
	}
}

func TestAWitnessThatAsksForPatience(t *testing.T) {
	s := newScene(t)
	w := newStrict(t, s)
	w.answers(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "3600")
		http.Error(rw, "too many", http.StatusTooManyRequests)
	})
	a := s.start(Options{Witnesses: []Witness{w.place(t)}})
	s.fails(a, "429 Too Many Requests")
	s.grow(1)
	time.Sleep(100 * time.Millisecond)
	if got := a.List()[0]; got.Errors != 1 || w.asked() != 1 {
		t.Errorf("asked %d times: %+v", w.asked(), got)
	}
}

// copyLog copies the database of a log that is closed.
func copyLog(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantAlarm waits until the witness has refused, and looks at all that tells of it.
func (s *scene) wantAlarm(a *Anchors, want string) {
	s.Helper()
	if got := s.fails(a, want); !got.Refused {
		s.Errorf("status: %+v", got)
	}
	s.eventually("the record", func() bool { return len(s.states()) == 1 })
	if r := s.states()[0]; r.Detail != "witness_refused" || r.Arg != "witness.example.org/w1" || !strings.Contains(r.Text, want) {
		s.Errorf("recorded %+v", r)
	}
	if !strings.Contains(s.said.String(), "level=ERROR") {
		s.Errorf("said %s", s.said.String())
	}
}

// The log is rolled back to an older copy, which a thief has kept, and goes on differently: whatever he signs with the
// log's own key, the witness knows better.
func TestAWitnessRefusesARewrittenHistory(t *testing.T) {
	for _, grown := range []int{2, 400} { // less than, and more than, what the witness has seen
		t.Run(fmt.Sprint(grown), func(t *testing.T) {
			s := newScene(t)
			w := newStrict(t, s)
			s.grow(20)
			s.close()
			old := s.path + ".old"
			copyLog(t, s.path, old)
			s.open()
			a := s.start(Options{Witnesses: []Witness{w.place(t)}})
			seen := s.grow(100)
			s.arrives(a, seen)
			end(a)
			s.close()

			copyLog(t, old, s.path)
			s.open()
			s.grow(grown)
			a = s.start(Options{Witnesses: []Witness{w.place(t)}})
			if grown < 100 {
				s.wantAlarm(a, "the log was rolled back")
				s.grow(400) // it does not forget
				s.fails(a, "are not those that it cosigned")
			} else {
				s.wantAlarm(a, "are not those that it cosigned")
			}
			end(a)
			if w.size != seen {
				t.Errorf("the witness cosigned up to %d, then %d", seen, w.size)
			}
		})
	}
}

// As many records as the witness has seen, but others.
func TestAWitnessRefusesAnotherRoot(t *testing.T) {
	s := newScene(t)
	w := newStrict(t, s)
	c, _ := s.log.Newest()
	w.size, w.root[0] = c.Size, 1
	a := s.start(Options{Witnesses: []Witness{w.place(t)}, Every: time.Hour})
	s.wantAlarm(a, "they are others than ours")
}
