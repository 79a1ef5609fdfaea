package web

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"postern/audit"
	"postern/proxy"
)

// TestPage drives the page in a real browser, one tab for each story.
func TestPage(t *testing.T) {
	browser := newBrowser(t)
	for _, story := range []struct {
		name string
		run  func(*testing.T, context.Context)
	}{
		{"empty page teaches", emptyPageTeaches},
		{"page lives", pageLives},
		{"resume loses nothing", pageResumes},
		{"pause holds the view", pausePage},
		{"filter", filterPage},
		{"keys", keysOnPage},
		{"transcript", transcriptPage},
		{"live transcript", liveTranscript},
		{"text stays text", textStaysText},
		{"failing log", failingLog},
		{"banners", bannersOnPage},
		{"both legs", bothLegs},
		{"life of the log", lifeOfTheLog},
		{"behind", pageBehind},
		{"twenty thousand rows", manyRows},
		{"axe", axePage},
	} {
		t.Run(story.name, func(t *testing.T) { story.run(t, browser) })
	}
}

func emptyPageTeaches(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector(".recipe code")?.innerText.includes("curl -k pop3s://")`)
	eval[bool](p, `(window.copied = "", navigator.clipboard.writeText = async (s) => { copied = s }, true)`)
	p.do(chromedp.Click(".recipe button"))
	p.until(`copied.startsWith("curl -k") && document.querySelector(".recipe button").innerText.includes("Copied")`)
}

func pageLives(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector("#link").textContent === "connected"`)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{k.connect("ready")}, k.login()...)...)
	p.until(`document.querySelector("#figure-sessions").innerText === "1"`)
	p.until(`document.querySelector(".session.is-open")?.innerText.includes("alice")`)
	s.record(k.retrieve(1, 48000)...)
	p.until(`document.querySelector("#records .tone-read:last-child")?.innerText.includes("48.0 kB")`)
	failed := newTalk(time.Now(), "", "192.0.2.9:5000")
	pass := failed.command("PASS", proxy.Redacted, "-ERR", "no")
	pass.Login, pass.User = proxy.LoginFailed, "mallory"
	s.record(failed.connect("ready"), pass, k.command("QUIT", "", "+OK", "bye"), k.end("client", "quit"))
	p.until(`document.querySelector("#figure-logins").closest(".figure").innerText.replace(/\s+/g, " ") === "1 ok 1 failed"`)
	p.until(`document.querySelector(".session.is-ended")?.innerText.includes("alice") && document.querySelector(".session.is-failed")`)
	p.until(`document.querySelector("#figure-octets").innerText === "48.2 kB"`)
}

// shown scrolls through the stream and returns the numbers of all rows, as they appear.
const shown = `(async () => {
	const box = document.getElementById("records"), seen = new Set();
	for (let top = 0; ; top += 200) {
		box.scrollTop = top;
		await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
		for (const row of box.querySelectorAll(".body .row")) seen.add(+row.id.slice("records-".length));
		if (top > box.scrollHeight) return [...seen].sort((a, b) => a - b);
	}
})()`

func pageResumes(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector("#link").textContent === "connected"`)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
		s.log.Record(k.connect("ready"))
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				s.log.Record(k.command("NOOP", "", "+OK", ""))
			}
		}
	}()
	for _, end := range []func(){s.crash, s.cut, s.crash} {
		time.Sleep(150 * time.Millisecond)
		end()
		p.until(`document.querySelector("#link").textContent.startsWith("cut off, retrying")`)
		s.serve(nil)
		p.until(`document.querySelector("#link").textContent === "connected"`)
	}
	close(stop)
	<-stopped
	s.record(newTalk(time.Now(), "bob", "192.0.2.8:5000").connect("the last"))
	p.until(`document.querySelector("#shown").innerText.replace(",", "") === "` + jsonOf(t, s.last()) + `"`)
	inOrder(t, eval[[]int64](p, shown), 1, s.last())
}

func pausePage(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	s.chat(20)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector("#shown").innerText === "22"`)
	p.key("p")
	s.chat(99)
	p.until(`document.querySelector("#link").textContent === "paused, 100 waiting"`)
	if got := p.text("#shown"); got != "22" {
		t.Errorf("the held view shows %s records", got)
	}
	p.key("p")
	p.until(`document.querySelector("#link").textContent === "connected" && document.querySelector("#shown").innerText === "122"`)
	inOrder(t, eval[[]int64](p, shown), 1, s.last())
}

func filterPage(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	alice := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{alice.connect("ready")}, alice.login()...)...)
	bob := newTalk(time.Now(), "bob", "198.51.100.8:5000")
	s.record(append([]proxy.Event{bob.connect("ready")}, bob.login()...)...)
	s.record(bob.command("RETR", "9", "-ERR", "no such message"))
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector("#shown").innerText === "8"`)
	for filter, want := range map[string]string{
		"user:alice": "1 of 8 match", "ip:192.0.2.": "3 of 8 match", "verb:retr": "1 of 8 match", "status:err": "1 of 8 match",
		`"no such"`: "1 of 8 match", "user:bob -verb:retr": "1 of 8 match", "nothing": "0 of 8 match", "verb:": "8 of 8 match",
	} {
		eval[bool](p, `(document.querySelector("#filter").value = `+jsonOf(t, filter)+`, document.querySelector("#filter").dispatchEvent(new Event("input")))`)
		p.until(`document.querySelector("#shown").innerText === "` + want + `"`)
	}
	eval[bool](p, `(document.querySelector("#filter").value = "198.51.100.8", document.querySelector("#filter").dispatchEvent(new Event("input")))`)
	p.until(`document.querySelectorAll(".body .session").length === 1`)
	s.record(alice.command("NOOP", "", "+OK", ""), bob.command("NOOP", "", "+OK", ""))
	p.until(`document.querySelector("#shown").innerText === "5 of 10 match"`)
}

func keysOnPage(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{k.connect("ready")}, k.login()...)...)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelectorAll(".body .record").length === 4`)
	// Chromium is told of a key and of its character apart; a person's keyboard drops the character of a
	// key that the page took.
	eval[bool](p, `document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true}))`)
	p.until(`document.activeElement.id === "filter"`)
	p.key("p") // is text here
	p.until(`document.querySelector("#filter").value === "p" && document.querySelector("#pause").innerText.includes("Pause")`)
	p.key("\x1b")
	p.until(`document.querySelector("#filter").value === "" && document.activeElement.id !== "filter"`)
	p.key("j")
	p.until(`document.querySelector(".record.selected")?.innerText.includes("PASS")`)
	p.key("k")
	p.until(`document.querySelector(".record.selected")?.innerText.includes("USER")`)
	p.key("?")
	p.until(`document.querySelector("dialog").open`)
	p.key("\x1b")
	p.until(`!document.querySelector("dialog").open`)
	p.key("u")
	p.until(`localStorage["postern.zone"] === "local"`)
	p.key("u")
	p.key("\r")
	p.until(`location.hash === "#/session/` + k.id.String() + `" && document.querySelector(".facts")`)
	p.key("\x1b")
	p.until(`location.hash === "#/" && document.querySelector("#records")`)
}

func transcriptPage(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	events := append([]proxy.Event{k.connect("+OK Dovecot ready.")}, k.login()...)
	events = append(events, k.retrieve(1, 48000)...)
	events[len(events)-1].Mail = &proxy.Mail{MessageID: "<1@example.org>", Subject: "Winter \u202etimetable"}
	events = append(events, k.drop(1), k.command("RSET", "", "+OK", ""), k.fate(1, proxy.DeleteRolledBack), k.drop(2))
	odd := k.event(proxy.KindAnomaly, 0)
	odd.Detail, odd.Side = "control_octet", "client"
	events = append(events, odd, k.intent(1), k.command("QUIT", "", "+OK", "bye"), k.fate(2, proxy.DeleteCommitted), k.end("client", "quit"))
	s.record(events...)
	p := newTab(t, browser, s.url("/#/session/"+k.id.String()))
	p.until(`document.querySelector(".lines .ended")`)
	text := eval[string](p, `[...document.querySelectorAll(".lines li")].map((l) => [...l.children].map((c) => c.textContent).slice(1).join(" ")).join("\n").replace(/[ \u00a0]+/g, " ")`)
	rest := text
	for _, want := range []string{
		"192.0.2.7:5000 to pop3s, TLS from the first octet: TLS 1.3", "S +OK Dovecot ready.", "C USER alice", "C PASS redacted",
		"+OK Logged in. logged in", "12 ms", "C RETR 1", "message 1, on record before its first octet", "S +OK 48000 octets", "48.0 kB, 800 lines",
		"Message-ID<1@example.org>", `SubjectWinter \u202etimetable`,
		"C DELE 1", "kept: rolled back", "C RSET", "message 1 kept: rolled back", "C DELE 2", "deleted", "control octet by the client",
		"C QUIT", "intention on record: 1 delete pending", "S +OK bye", "message 2 deleted", "ended by the client: quit",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no %q in its place in\n%s", want, text)
		}
		rest = after
	}
	if n := strings.Count(text, "C RETR 1"); n != 1 {
		t.Errorf("RETR is told %d times", n)
	}
	facts := p.text(".facts")
	for _, want := range []string{"ended by the client: quit", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768", "mail.example.org", "accepted, USER"} {
		if !strings.Contains(facts, want) {
			t.Errorf("no %q in the facts:\n%s", want, facts)
		}
	}
	p.do(chromedp.Navigate(s.url("/#/session/" + proxy.SessionID(1<<40).String())))
	p.until(`document.querySelector(".missing")?.innerText.includes("no such session")`)
}

func liveTranscript(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	s.record(append([]proxy.Event{k.connect("ready")}, k.login()...)...)
	p := newTab(t, browser, s.url("/#/session/"+k.id.String()))
	p.until(`document.querySelector(".going") && document.querySelector(".facts").innerText.includes("live, logged in")`)
	s.record(k.drop(1))
	p.until(`document.querySelector(".badge.drop")?.innerText === "delete intended"`)
	s.record(k.command("QUIT", "", "+OK", "bye"), k.fate(1, proxy.DeleteCommitted), k.end("client", "quit"))
	p.until(`document.querySelector(".badge.drop")?.innerText === "deleted" && !document.querySelector(".going")`)
	p.until(`document.querySelector(".verdict").innerText === "ended by the client: quit"`)
	if n := eval[int](p, `new Set([...document.querySelectorAll(".lines li .said")].map((l) => l.innerText).filter((l) => l.startsWith("DELE"))).size`); n != 1 {
		t.Errorf("DELE is told %d times", n)
	}
}

func textStaysText(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	const evil = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
	k := newTalk(time.Now(), evil, "192.0.2.7:5000")
	pass := k.command("PASS", proxy.Redacted, "+OK", evil)
	pass.User, pass.Mechanism, pass.Login = evil, evil, proxy.LoginOK
	odd := k.command("\u202eRTER", evil, "-ERR", "turn\x1b[31m\u202e"+evil)
	odd.Code = evil
	anomaly := k.event(proxy.KindAnomaly, 0)
	anomaly.Detail, anomaly.Side, anomaly.Text = evil, evil, evil
	s.record(k.connect("+OK "+evil), k.command("USER", evil, "+OK", evil), pass, odd, anomaly)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelectorAll(".body .record").length === 6 && document.querySelector(".session .who a")`)
	whole := func() {
		t.Helper()
		time.Sleep(100 * time.Millisecond) // an image that is no image would tell by now
		if eval[bool](p, `!!window.hacked || document.querySelectorAll("img, #app script").length > 0`) {
			t.Error("text from the wire became markup")
		}
		if text := eval[string](p, `document.body.textContent`); !strings.Contains(text, "<img src=x onerror=") || strings.Contains(text, "\u202e") || strings.Contains(text, "\x1b") {
			t.Errorf("text from the wire is not shown as it was:\n%s", text)
		}
	}
	whole()
	p.do(chromedp.Navigate(s.url("/#/session/" + k.id.String())))
	p.until(`document.querySelector(".lines .warn")`)
	whole()
}

func failingLog(t *testing.T, browser context.Context) {
	s := newScene(t, func(o *Options) {
		o.Health = func() audit.Health {
			return audit.Health{Err: "no space left on device", Lost: 7, OnFailure: "refuse", LastSeq: 1}
		}
	})
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector(".banner")?.innerText.includes("The log cannot be written. No space left on device. Sessions are refused")`)
	if text := p.text(".banner"); !strings.Contains(text, "Sessions are refused") || !strings.Contains(text, "7 events are lost") {
		t.Errorf("banner: %s", text)
	}
}

// pageBehind claims that the log holds more than its tail brings.
// bannersOnPage shows what is wrong with certificates and settings, as text, and takes it back by itself.
func bannersOnPage(t *testing.T, browser context.Context) {
	var mu sync.Mutex
	certificates := []Certificate{{Names: []string{"<b>pop</b>.example.org"}, State: "expired"}}
	s := newScene(t, func(o *Options) {
		o.Warnings = []string{"The backend's certificate is not verified: whoever is in between can read passwords."}
		o.Certificates = func() []Certificate {
			mu.Lock()
			defer mu.Unlock()
			return certificates
		}
	})
	change := func(now ...Certificate) {
		mu.Lock()
		defer mu.Unlock()
		certificates = now
	}
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector(".banner.warn b")?.innerText === "The backend's certificate is not verified:"`)
	p.until(`document.querySelector(".banner.bad[role=alert]")?.innerText.includes("The certificate of <b>pop</b>.example.org expired")`)
	var many []Certificate
	for range 5 {
		many = append(many, Certificate{Names: []string{"new.example.org"}, State: "awaited"})
	}
	change(many...)
	p.until(`!document.querySelector(".banner.bad") && document.querySelector(".banner.warn").innerText.includes("and 3 more")`)
	change()
	p.until(`document.querySelectorAll(".banner p").length === 1`)
}

// bothLegs shows a session's TLS towards the client and towards the backend, and certificates in the stream.
func bothLegs(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	k := newTalk(time.Now(), "alice", "192.0.2.7:5000")
	connect := k.connect("ready")
	connect.TLS.Subject, connect.TLS.SHA256, connect.TLS.JA4, connect.TLS.Serial = "CN=alice", "5feceb66", "t13d1516h2_8daaf6152771_e5627efa2ab1", "03ab"
	connect.BackendTLS = &proxy.TLS{Version: "TLS 1.0", Cipher: "TLS_RSA_WITH_AES_128_CBC_SHA", Legacy: true, Serial: "0c", Handshake: 3 * time.Millisecond}
	renewed := proxy.Event{Kind: proxy.KindCertificate, Time: time.Now(), Detail: "renewed", Arg: "pop.example.org", Text: "serial 03ac"}
	failed := renewed
	failed.Detail, failed.Text = "failed", "port 80 is closed"
	s.record(connect, renewed, failed)
	p := newTab(t, browser, s.url("/"))
	p.until(`[...document.querySelectorAll(".record .event.wide")].some((e) => e.innerText === "certificate renewed: pop.example.org, serial 03ac")`)
	p.until(`document.querySelector(".record.tone-bad")?.innerText.includes("certificate failed: pop.example.org, port 80 is closed")`)
	p.do(chromedp.Navigate(s.url("/#/session/" + k.id.String())))
	p.until(`document.querySelector(".facts")`)
	facts := p.text(".facts")
	for _, want := range []string{"CN=alice", "5feceb66", "t13d1516h2_8daaf6152771_e5627efa2ab1", "certificate 03ab",
		"TLS to the backend", "TLS 1.0 (outdated)", "not verified", "3.0 ms", "0c"} {
		if !strings.Contains(facts, want) {
			t.Errorf("no %q in the facts:\n%s", want, facts)
		}
	}
	k = newTalk(time.Now(), "bob", "192.0.2.8:5000")
	connect = k.connect("ready")
	connect.BackendTLS = &proxy.TLS{Version: "TLS 1.3", Verified: "name:mail,pin:sha256//AA="}
	s.record(connect)
	p.do(chromedp.Navigate(s.url("/#/session/" + k.id.String())))
	p.until(`document.querySelector(".facts")?.innerText.includes("as mail and by its key sha256//AA=")`)
}

// lifeOfTheLog shows the records that are of no session, in words.
func lifeOfTheLog(t *testing.T, browser context.Context) {
	told := []struct {
		ev    proxy.Event
		words string
	}{
		{proxy.Event{Kind: proxy.KindConfig, Arg: "backend-tls", Text: "stls"}, "setting backend-tls = stls"},
		{proxy.Event{Kind: proxy.KindConfig, Arg: "listen-pop3"}, "setting listen-pop3 = none"},
		{proxy.Event{Kind: proxy.KindAccess, Verb: "sessions", Arg: "--user=<b>ada</b>", User: "grace", Count: 3, Text: "as postern"},
			"access by sessions --user=<b>ada</b>, 3 given out, as postern"},
		{proxy.Event{Kind: proxy.KindAccess, Verb: "dashboard", Arg: "live"}, "access by dashboard live"},
		{proxy.Event{Kind: proxy.KindState, Detail: "failing", Text: "no space left on device"}, "log failing: no space left on device"},
		{proxy.Event{Kind: proxy.KindState, Detail: "space_low", Text: "76 % used"}, "log space low: 76 % used"},
		{proxy.Event{Kind: proxy.KindState, Detail: "recovered"}, "log recovered"},
		{proxy.Event{Kind: proxy.KindRetention, Detail: "deleted", Arg: "sessions older than 365 days", Count: 4000, Text: "17-9041"},
			"retention 4,000 records deleted, by the rule sessions older than 365 days"},
		{proxy.Event{Kind: "hold", Verb: "add", Arg: "user ada", Text: "case 17"}, "hold begun: user ada, case 17"},
		{proxy.Event{Kind: "hold", Verb: "release", Arg: "user ada"}, "hold released: user ada"},
		{proxy.Event{Kind: proxy.KindKey, Arg: "postern/0a+1b2c3d4e+AbCd"}, "key checkpoints are signed with postern/0a+1b2c3d4e+AbCd from here on"},
		{proxy.Event{Kind: proxy.KindGap, Count: 7}, "gap 7 events not recorded"},
		{proxy.Event{Kind: proxy.KindAsked, Verb: "UIDL", Status: "+OK"}, "asked UIDL by Postern itself: +OK"},
	}
	s := newScene(t, nil)
	for _, one := range told {
		one.ev.Time = time.Now()
		s.record(one.ev)
	}
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelectorAll(".record").length > ` + jsonOf(t, len(told)))
	shown := eval[[]string](p, `[...document.querySelectorAll(".record .event.wide")].map((e) => e.innerText.replace(/\s+/g, " "))`)
	for _, one := range told {
		if !slices.Contains(shown, one.words) {
			t.Errorf("no %q in the stream:\n%s", one.words, strings.Join(shown, "\n"))
		}
	}
	tones := eval[string](p, `[...document.querySelectorAll(".record.state")].map((e) => /tone-\w+/.exec(e.className)[0]).join(" ")`)
	if tones != "tone-bad tone-warn tone-plain" {
		t.Errorf("the colours of failing, low on space and recovered are %s", tones)
	}
}

func pageBehind(t *testing.T, browser context.Context) {
	s := newScene(t, func(o *Options) {
		log := o.Health
		o.Health = func() audit.Health {
			h := log()
			h.LastSeq += 4000
			return h
		}
	})
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector("#link").textContent === "behind by 4,000"`)
}

// manyRows records more than the page keeps, and more than a pause holds.
func manyRows(t *testing.T, browser context.Context) {
	s := newScene(t, nil)
	p := newTab(t, browser, s.url("/"))
	p.until(`document.querySelector("#shown").innerText === "1"`)
	p.key("p")
	id := s.chat(20500)
	p.until(`/^paused, 20,50[1-5] waiting$/.test(document.querySelector("#link").textContent)`) // a slow disk is on record, too
	p.key("p")
	p.until(`document.querySelector("#shown").innerText === "20,000" && document.querySelector("#records-` + jsonOf(t, s.last()) + `")`)
	p.until(`document.querySelector("#link").textContent === "connected"`)
	if n := eval[int](p, `document.querySelectorAll(".record").length`); n > 100 {
		t.Errorf("%d rows are in the page", n)
	}
	eval[bool](p, `(document.getElementById("records").scrollTop = 280000, true)`)
	p.until(`document.querySelector(".newest")`)
	row := `(() => { const y = document.getElementById("records").getBoundingClientRect().top + 50;
		return [...document.querySelectorAll(".body .record")].find((r) => r.getBoundingClientRect().bottom > y).id })()`
	before := eval[string](p, row)
	s.chat(700) // as many rows leave at the other end
	p.until(`/70[1-5] new/.test(document.querySelector(".newest").innerText)`)
	if after := eval[string](p, row); after != before {
		t.Errorf("the row being read moved: %s was %s", after, before)
	}
	eval[bool](p, `(location.hash = "#/session/`+id+`", true)`)
	p.until(`document.querySelector(".more")?.innerText.includes("after 5,000 records")`)
}
