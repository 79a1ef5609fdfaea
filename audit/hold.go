package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/proxy"
)

// Hold is a legal hold: what it covers is kept whole, whatever the rules say.
type Hold struct {
	ID     int64     `json:"id"`    // the number of the record that added it
	Added  time.Time `json:"added"` // UTC
	By     string    `json:"by"`    // the operating system's user
	Scope  Scope     `json:"scope"`
	Reason string    `json:"reason"`
}

// Scope says what a hold covers: what matches all that is set, and something must be. Of a session one record is enough.
type Scope struct {
	User  string    `json:"user,omitzero"`  // who logged in or tried to, in capitals or not; or a pseudonym
	Since time.Time `json:"since,omitzero"` // what happened from then on
	Until time.Time `json:"until,omitzero"` // what happened before
}

// The verbs of a KindHold.
const (
	HoldAdd     = "add"
	HoldRelease = "release"
)

// MaxHolds bounds the holds in force: each is looked at for each session that a rule would take.
const MaxHolds = 1000

// String returns the scope as Arg of a KindHold has it, such as: user "ada" since 2026-01-01T00:00:00Z.
func (s Scope) String() string {
	var words []string
	if s.User != "" {
		words = append(words, "user "+strconv.Quote(s.User))
	}
	if !s.Since.IsZero() {
		words = append(words, "since "+s.Since.UTC().Format(time.RFC3339Nano))
	}
	if !s.Until.IsZero() {
		words = append(words, "until "+s.Until.UTC().Format(time.RFC3339Nano))
	}
	return strings.Join(words, " ")
}

var errScope = errors.New("not the scope of a hold")

// ParseScope reads what String wrote.
func ParseScope(text string) (s Scope, err error) {
	rest := text
	if quoted, found := strings.CutPrefix(rest, "user "); found {
		name, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			return s, errScope
		}
		if s.User, err = strconv.Unquote(name); err != nil {
			return s, errScope
		}
		rest = strings.TrimPrefix(quoted[len(name):], " ")
	}
	words := strings.Fields(rest)
	for ; len(words) >= 2; words = words[2:] {
		at, err := time.Parse(time.RFC3339Nano, words[1])
		switch {
		case err != nil:
			return s, errScope
		case words[0] == "since":
			s.Since = at
		case words[0] == "until":
			s.Until = at
		}
	}
	if s == (Scope{}) || s.String() != text {
		return s, errScope
	}
	return s, nil
}

// check refuses a hold that says nothing or cannot be recorded whole.
func (h *Hold) check() error {
	switch s := h.Scope; {
	case s == (Scope{}):
		return errors.New("a hold needs a user, a period, or both")
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return fmt.Errorf("a hold since %s ends before it begins", s.Since.Format(time.RFC3339))
	case len(s.User) > proxy.MaxText || len(h.Reason) > proxy.MaxText:
		return fmt.Errorf("a hold's user and reason may have %d octets", proxy.MaxText)
	case strings.TrimSpace(h.Reason) == "":
		return errors.New("a hold needs a reason: whoever meets it has to know when it may be released")
	}
	return nil
}

// AddEvent returns the event that puts h in force once it is recorded, beside those that are already. It is an error if h is
// not a hold, or there are too many.
func (h *Hold) AddEvent(inForce int) (proxy.Event, error) {
	if inForce >= MaxHolds {
		return proxy.Event{}, fmt.Errorf("%d holds are in force, and there may be no more: release some, or hold a period", inForce)
	}
	ev := proxy.Event{Time: time.Now(), Kind: proxy.KindHold, Verb: HoldAdd, Arg: h.Scope.String(), Text: h.Reason, User: h.By}
	return ev, h.check()
}

// ReleaseEvent returns the event that ends h once it is recorded.
func (h *Hold) ReleaseEvent(by, reason string) (proxy.Event, error) {
	if len(reason) > proxy.MaxText {
		return proxy.Event{}, fmt.Errorf("a reason may have %d octets", proxy.MaxText)
	}
	return proxy.Event{Time: time.Now(), Kind: proxy.KindHold, Verb: HoldRelease, Arg: h.Scope.String(), Text: reason, User: by,
		Count: h.ID}, nil
}

// holdOf reads the hold that a record added.
func holdOf(r *Record) (h Hold, err error) {
	h = Hold{ID: r.Seq, Added: r.Time, By: r.User, Reason: r.Text}
	if h.Scope, err = ParseScope(r.Arg); err != nil || r.Kind != proxy.KindHold || r.Verb != HoldAdd {
		return h, fmt.Errorf("record %d: %w: %s", r.Seq, errors.Join(ErrAltered, errScope), alteredRemedy)
	}
	return h, nil
}

// keepHold follows a KindHold record into the table, in the same transaction.
func (s *store) keepHold(r *Record) error {
	query, id := "INSERT INTO holds(record) VALUES(?)", r.Seq
	if r.Verb == HoldRelease {
		query, id = "DELETE FROM holds WHERE record = ?", r.Count
	}
	_, err := s.change(query, id)
	return err
}

// Holds returns the legal holds in force, the oldest first.
func (r *Reader) Holds(ctx context.Context) ([]Hold, error) {
	holds, err := selectHolds(ctx, r.db)
	return holds, r.wrap("read holds", err)
}

// Hold returns the hold in force with that number, or an error wrapping ErrNotFound.
func (r *Reader) Hold(ctx context.Context, id int64) (Hold, error) {
	holds, err := r.Holds(ctx)
	if err != nil {
		return Hold{}, err
	}
	i := slices.IndexFunc(holds, func(h Hold) bool { return h.ID == id })
	if i < 0 {
		return Hold{}, fmt.Errorf("hold %d: %w: postern hold list tells which are in force", id, ErrNotFound)
	}
	return holds[i], nil
}

func selectHolds(ctx context.Context, q queryer) ([]Hold, error) {
	rows, err := q.QueryContext(ctx, "SELECT "+recordColumns+" FROM records WHERE seq IN (SELECT record FROM holds) ORDER BY seq")
	if err != nil {
		return nil, err
	}
	return collect(rows, func(h *Hold) (err error) {
		var r Record
		if err = r.scan(rows); err == nil {
			*h, err = holdOf(&r)
		}
		return err
	})
}

// custody tells what the holds in force cover.
type custody struct {
	holds []Hold
	keyed *pseudonyms
}

// covers tells whether a hold keeps u from every rule.
func (c *custody) covers(ctx context.Context, q queryer, u *unit) (bool, error) {
	var names []string // read when first needed
	for i := range c.holds {
		s := &c.holds[i].Scope
		if !s.Since.IsZero() && u.last < nanos(s.Since) || !s.Until.IsZero() && u.started >= nanos(s.Until) {
			continue
		}
		if s.User == "" {
			return true, nil
		}
		if names == nil {
			var err error
			if names, err = selectNames(ctx, q, u); err != nil {
				return false, err
			}
		}
		for _, name := range names {
			if c.means(s.User, name) {
				return true, nil
			}
		}
	}
	return false, nil
}

// means tells whether a name in a record is that of a held user. Either may be a pseudonym: who is held may have been
// thinned before, and of whom the log names by a pseudonym alone nobody may know the name.
func (c *custody) means(user, name string) bool {
	return strings.EqualFold(user, name) || name == c.keyed.of(user) ||
		strings.HasPrefix(user, pseudonymMark) && c.keyed.of(name) == user
}

// selectNames returns the names of users in the records of u, also those with which nobody logged in.
func selectNames(ctx context.Context, q queryer, u *unit) ([]string, error) {
	query, number := "SELECT user FROM session_records CROSS JOIN records ON seq = record WHERE session_id = ?1 UNION "+
		"SELECT arg FROM session_records CROSS JOIN records ON seq = record WHERE session_id = ?1 AND verb = 'USER'", u.session
	if u.session == 0 {
		query, number = "SELECT user FROM records WHERE seq = ?1", u.first
	}
	rows, err := q.QueryContext(ctx, query, number)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(name *string) error { return rows.Scan(name) })
}
