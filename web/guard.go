package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// policy is what the page may do: load its own parts and nothing else, run no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; " +
	"connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard refuses requests that another site made a browser send, and sets the headers that every answer
// carries. A name that an attacker points at 127.0.0.1 (DNS rebinding) makes that site same-origin for the
// browser; only the Host header tells.
func guard(next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if !loopbackHost(hostOf(r.Host)) {
			http.Error(w, "the dashboard answers only to localhost, 127.0.0.1 and [::1]", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf takes the port, if there is one, and the brackets of an IPv6 address off a Host header.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// loopbackHost tells whether host can only mean this machine.
func loopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// CheckLoopback returns nil when addr, a host:port to listen on, can be reached from this machine only.
// The error carries the remedy.
func CheckLoopback(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("dashboard address %q: %w; want host:port, for example 127.0.0.1:8995", addr, err)
	}
	if loopbackHost(host) {
		return nil
	}
	return fmt.Errorf("dashboard address %q can be reached from other machines, and the dashboard has no accounts yet; "+
		"listen on 127.0.0.1:%s and open it from afar through ssh -L %s:127.0.0.1:%s HOST", addr, port, port, port)
}
