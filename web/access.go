package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"postern/proxy"
)

// Bounds of what is recorded of readers. A page asks for the same thing again and again, and a flood of requests must
// not fill the log.
const (
	accessWindow = time.Minute
	accessRows   = 256    // told apart in one window
	accessMore   = "more" // stands for all beyond them
)

// accesses puts on record who reads the log through the dashboard: the first time in a window that an address asks
// for a thing, before it is answered.
type accesses struct {
	record func(proxy.Event) // nil: nothing is recorded

	mu    sync.Mutex
	since time.Time // when the window began
	told  map[reading]struct{}
}

// reading is a thing of the log that an address asks for.
type reading struct {
	addr netip.Addr
	what string
}

// note records that r asks for what, unless the window has told it.
func (a *accesses) note(r *http.Request, what string) {
	if a.record == nil {
		return
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // of an address that cannot be read there is none
	what = strings.ToValidUTF8(what[:min(len(what), proxy.MaxText)], "")
	now := time.Now()
	told := a.place(reading{peer.Addr(), what}, now)
	if told == nil {
		return
	}
	if told.what == accessMore {
		peer = netip.AddrPort{}
	}
	a.record(proxy.Event{Kind: proxy.KindAccess, Time: now, Verb: "dashboard", Arg: told.what, Peer: peer})
}

// place returns what to record of asked, nil if that has been.
func (a *accesses) place(asked reading, now time.Time) *reading {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.since) >= accessWindow {
		a.since, a.told = now, make(map[reading]struct{})
	}
	_, known := a.told[asked]
	if !known && len(a.told) >= accessRows {
		asked = reading{what: accessMore}
		_, known = a.told[asked]
	}
	if known {
		return nil
	}
	a.told[asked] = struct{}{}
	return &asked
}

// listed names the sessions that a query of /api/sessions chooses, on whatever page of them.
func listed(v url.Values) string {
	chosen := url.Values{}
	for _, name := range []string{"user", "ip", "live", "since"} {
		if text := v.Get(name); text != "" {
			chosen.Set(name, text)
		}
	}
	return strings.TrimSpace("sessions " + chosen.Encode())
}
