package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"postern/audit"
	"postern/proxy"
)

// diary makes up sessions as the relay records them: a login, a listing, some messages read, some of them deleted. Its
// time runs so that a log of the size that is aimed at spans a year.
type diary struct {
	now  atomic.Int64  // Unix nanoseconds
	step time.Duration // from one session to the next
}

func newDiary(size int64) *diary {
	d := &diary{step: time.Duration(float64(logYear) / (float64(size) / perSession))}
	d.now.Store(time.Now().Add(-logYear).UnixNano())
	return d
}

// How many people there are, and addresses that they come from.
const (
	diaryUsers     = 5_000
	diaryAddresses = 8_000
)

// session records one, waiting as the relay waits, and adds how long each wait took.
func (d *diary) session(l *audit.Log, waits []time.Duration) ([]time.Duration, error) {
	w := &entry{log: l, waits: waits, at: time.Unix(0, d.now.Add(int64(d.step)))}
	w.id = proxy.NewSessionID(w.at)
	user := fmt.Sprintf("user%04d@example.org", rand.IntN(diaryUsers))
	host := rand.IntN(diaryAddresses)
	peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(host >> 8), byte(host)}), uint16(1024+rand.IntN(60_000)))
	l.Record(proxy.Event{Session: w.id, Time: w.at, Kind: proxy.KindConnect, Peer: peer, Listener: "pop3s", Backend: "mail.internal:110",
		Status: "+OK", Text: "mail.internal POP3 server ready", TLS: &proxy.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
			Group: "X25519MLKEM768", SNI: "pop.example.org", ALPN: "pop3", Handshake: 21 * time.Millisecond,
			Serial: "04a1c3f2b9d85e77a0c1d2e3f4a5b6c7d8e9", JA4: "t13d1516po_8daaf6152771_b186095e22b6"}})
	w.command(proxy.Event{Verb: "USER", Arg: user})
	w.command(proxy.Event{Verb: "PASS", Arg: proxy.Redacted, User: user, Mechanism: "USER", Login: proxy.LoginOK, Text: "logged in"})
	w.command(proxy.Event{Verb: "STAT", Text: "3 61234"})
	w.command(proxy.Event{Verb: "UIDL", Octets: 102, Lines: 3})
	deletes := rand.IntN(4) == 0
	for n := range int64(3) {
		w.message(n+1, deletes)
	}
	if deletes {
		w.record(proxy.Event{Kind: proxy.KindIntent, Verb: "QUIT", Count: 3})
		w.wait()
	}
	for n := range int64(3) {
		if deletes {
			w.record(proxy.Event{Kind: proxy.KindDelete, Message: n + 1, UID: w.uid(n + 1), Detail: proxy.DeleteCommitted})
		}
	}
	w.command(proxy.Event{Verb: "QUIT", Text: "bye"})
	w.record(proxy.Event{Kind: proxy.KindEnd, Side: proxy.SideClient, Detail: "quit", Received: 180, Sent: 62_000, Duration: 900 * time.Millisecond})
	return w.waits, w.err
}

// entry is a session in the diary.
type entry struct {
	log   *audit.Log
	id    proxy.SessionID
	at    time.Time
	last  proxy.Receipt
	asked time.Time // when that was recorded
	waits []time.Duration
	err   error
}

// message reads one, and deletes it if that is wanted. Small ones wait once for both of their records.
func (e *entry) message(n int64, deletes bool) {
	read := proxy.Event{Verb: "RETR", Arg: fmt.Sprint(n), Message: n, UID: e.uid(n), Announced: 20_411}
	opened := read
	opened.Kind = proxy.KindOpened
	e.record(opened)
	read.Text, read.Octets, read.Lines = "20411 octets", 20_411, 301
	e.command(read)
	if deletes {
		e.command(proxy.Event{Verb: "DELE", Arg: fmt.Sprint(n), Message: n, UID: e.uid(n), Text: "marked"})
	}
}

func (e *entry) uid(n int64) string { return fmt.Sprintf("%s.%08x", e.id, n) }

// command records one with its reply, which waits for that.
func (e *entry) command(ev proxy.Event) {
	ev.Kind, ev.Status, ev.Duration = proxy.KindCommand, "+OK", 380*time.Microsecond
	e.record(ev)
	e.wait()
}

func (e *entry) record(ev proxy.Event) {
	e.at = e.at.Add(40 * time.Millisecond)
	ev.Session, ev.Time = e.id, e.at
	e.asked = time.Now()
	e.last = e.log.Record(ev)
}

func (e *entry) wait() {
	if err := e.last.Wait(); err != nil && e.err == nil {
		e.err = err
	}
	e.waits = append(e.waits, time.Since(e.asked))
}
