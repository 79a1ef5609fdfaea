package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"postern/audit"
	"postern/proxy"
)

// The page sizes of the API: without a limit, and at most.
const (
	defaultPage = 100
	maxPage     = 500
)

// errRequest is wrapped by what is wrong with a request; the text goes to the browser.
var errRequest = errors.New("bad request")

// failure is the body of every answer that is none.
type failure struct {
	Error string `json:"error"`
}

// sessionPage is the answer of /api/sessions. Next, if not zero, is the ?before= of the page after it.
type sessionPage struct {
	Sessions []audit.Session `json:"sessions"`
	Next     proxy.SessionID `json:"next,omitzero"`
}

// recordPage is the answer of /api/sessions/{id}/records. A page with fewer records than were asked for
// is the last one now.
type recordPage struct {
	Records []audit.Record `json:"records"`
}

// sessions answers /api/sessions?user=&ip=&live=&since=&before=&limit=, newest first.
func (s *Server) sessions(r *http.Request) (any, error) {
	q, err := sessionQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	s.accesses.note(r, listed(r.URL.Query()))
	found, err := s.o.Log.Sessions(r.Context(), q)
	if err != nil {
		return nil, err
	}
	page := sessionPage{Sessions: list(found)}
	if len(found) == q.Limit {
		page.Next = found[len(found)-1].ID
	}
	return page, nil
}

// session answers /api/sessions/{id}.
func (s *Server) session(r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	s.accesses.note(r, "session "+id.String())
	return s.o.Log.Session(r.Context(), id)
}

// records answers /api/sessions/{id}/records?after=&limit=, oldest first.
func (s *Server) records(r *http.Request) (any, error) {
	id, err := sessionID(r)
	if err != nil {
		return nil, err
	}
	after, err := number(r.URL.Query(), "after", 0)
	if err != nil {
		return nil, err
	}
	limit, err := number(r.URL.Query(), "limit", defaultPage)
	if err != nil {
		return nil, err
	}
	s.accesses.note(r, "session "+id.String())
	found, err := s.o.Log.Transcript(r.Context(), id, after, clamp(limit))
	if err != nil {
		return nil, err
	}
	return recordPage{Records: list(found)}, nil
}

func sessionQuery(v url.Values) (q audit.SessionQuery, err error) {
	limit, err := number(v, "limit", defaultPage)
	if err != nil {
		return q, err
	}
	q.Limit = clamp(limit)
	q.User = v.Get("user")
	q.Live = v.Get("live") == "true"
	if ip := v.Get("ip"); ip != "" {
		if q.Addr, err = prefix(ip); err != nil {
			return q, err
		}
	}
	if since := v.Get("since"); since != "" {
		if q.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return q, fmt.Errorf("%w: since %.40q: want a time as in 2006-01-02T15:04:05Z", errRequest, since)
		}
	}
	if before := v.Get("before"); before != "" {
		if q.Before, err = proxy.ParseSessionID(before); err != nil {
			return q, fmt.Errorf("%w: before: %w", errRequest, err)
		}
	}
	return q, nil
}

// prefix reads an address, or a network as in 192.0.2.0/24.
func prefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w: ip %.40q: want an address or a network", errRequest, s)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func sessionID(r *http.Request) (proxy.SessionID, error) {
	id, err := proxy.ParseSessionID(r.PathValue("id"))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRequest, err)
	}
	return id, nil
}

func number(v url.Values, name string, fallback int64) (int64, error) {
	s := v.Get(name)
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %s %.40q: want a number from 0", errRequest, name, s)
	}
	return n, nil
}

func clamp(limit int64) int { return int(min(max(limit, 1), maxPage)) }

// list makes an empty list of none, so that the JSON is [] and not null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// answer writes what ask returns as JSON, and its error as the status it means.
func (s *Server) answer(ask func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := ask(r)
		switch {
		case err == nil:
			writeJSON(w, http.StatusOK, body)
		case errors.Is(err, errRequest):
			writeJSON(w, http.StatusBadRequest, failure{err.Error()})
		case errors.Is(err, audit.ErrNotFound):
			writeJSON(w, http.StatusNotFound, failure{"no such session is in the log"})
		case errors.Is(err, context.Canceled):
		default:
			s.o.Logger.Error("answer the dashboard", "path", r.URL.Path, "err", err)
			writeJSON(w, http.StatusInternalServerError, failure{"the log could not be read; postern's own log tells why"})
		}
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error here is a browser that left
}
