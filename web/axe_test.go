package web

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"postern/proxy"
)

// axePage asks axe-core for what people with impairments would stumble over, in both themes.
func axePage(t *testing.T, browser context.Context) {
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, func(o *Options) {
		o.Warnings = []string{"The backend's certificate is not verified: whoever is in between can read passwords."}
		o.Certificates = func() []Certificate { return []Certificate{{Names: []string{"old.example.org"}, State: "expired"}} }
	})
	p := newTab(t, browser, s.url("/"))
	p.do(chromedp.Evaluate[chromedp.Void](string(axe)))
	check := func(what string) {
		t.Helper()
		time.Sleep(100 * time.Millisecond) // let the page be drawn
		found := eval[string](p, `axe.run().then((r) => JSON.stringify(r.violations.map((v) => [v.id, v.nodes.map((n) => n.html + " " + n.failureSummary)])))`)
		var violations [][]any
		if err := json.Unmarshal([]byte(found), &violations); err != nil {
			t.Fatal(err)
		}
		for _, v := range violations {
			t.Errorf("%s: %v", what, v)
		}
	}
	id := ""
	for i, theme := range []string{"light", "dark"} {
		p.until(`document.documentElement.dataset.theme === "` + theme + `" || (document.querySelector("#theme").click(), false)`)
		if i == 0 {
			check("empty page, " + theme)
			id = s.variety()
		}
		p.until(`document.querySelectorAll(".body .record").length > 10`)
		check("live page, " + theme)
		p.key("j")
		p.key("p")
		check("paused, selected, " + theme)
		p.key("p")
		p.do(chromedp.EmulateViewport(390, 844))
		check("phone, records, " + theme)
		p.key("s")
		check("phone, sessions, " + theme)
		p.key("r")
		p.do(chromedp.EmulateViewport(1280, 800))
		p.key("?")
		check("help, " + theme)
		p.key("\x1b")
		eval[bool](p, `(location.hash = "#/session/`+id+`", true)`)
		p.until(`document.querySelector(".lines .ended")`)
		check("transcript, " + theme)
		p.key("\x1b")
		p.until(`document.querySelector("#records")`)
	}
	s.cut()
	p.until(`document.querySelector("#link.cut")`)
	check("cut off")
}

// variety records one of everything and returns the session that had it all.
func (s *scene) variety() string {
	s.t.Helper()
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	events := append([]proxy.Event{k.connect("ready")}, k.login()...)
	events = append(events, k.retrieve(1, 48000)...)
	cut := k.command("RETR", "2", "+OK", "")
	cut.Partial, cut.Octets = true, 812
	refused := k.command("RETR", "99", "-ERR", "no such message")
	refused.Code, refused.Local = "SYS/PERM", true
	odd := k.event(proxy.KindAnomaly, 0)
	odd.Detail, odd.Side = "control_octet", "client"
	events = append(events, cut, refused, odd, k.drop(1), k.drop(2), k.intent(2), k.command("QUIT", "", "+OK", "bye"),
		k.fate(1, proxy.DeleteCommitted), k.fate(2, proxy.DeleteUnknown), k.end("client", "quit"))
	s.record(events...)
	live := newTalk(time.Now(), "bob", "[2001:db8::7]:5000")
	s.record(append([]proxy.Event{live.connect("ready")}, live.login()...)...)
	failed := newTalk(time.Now(), "mallory", "192.0.2.66:5000")
	pass := failed.command("PASS", proxy.Redacted, "-ERR", "no")
	pass.User, pass.Login = "mallory", proxy.LoginFailed
	clear := failed.connect("ready")
	clear.TLS, clear.Listener = nil, "pop3"
	probe := proxy.Event{Kind: proxy.KindRefused, Time: time.Now(), Peer: failed.peer, Listener: "pop3s", Detail: "handshake_failed", Count: 12}
	s.record(clear, pass, probe)
	return k.id.String()
}
