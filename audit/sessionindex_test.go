package audit

import (
	"fmt"
	"testing"
	"time"

	"postern/proxy"
)

// wantIndexed checks that session_records has just the records up to the one it is said to be complete to.
func wantIndexed(t *testing.T, path string) {
	t.Helper()
	const query = `WITH upto(seq) AS (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'indexed'),
		want(session, seq) AS (SELECT session, seq FROM records WHERE session <> 0 AND seq <= (SELECT seq FROM upto))
		SELECT count(*) || ' ' || (SELECT count(*) FROM want JOIN session_records ON session = session_id AND seq = record)
			|| ' ' || (SELECT count(*) FROM session_records) FROM want`
	var want, found, all int
	if _, err := fmt.Sscan(ask(t, path, query), &want, &found, &all); err != nil || found != want || all != want || want == 0 {
		t.Errorf("%d records are in the index, and of its %d entries %d are right", want, all, found)
	}
}

func TestTranscriptsAreWholeHoweverFarTheIndexIs(t *testing.T) {
	l := openLog(t, Options{})
	ids := []proxy.SessionID{newID(), newID(), newID()}
	keep(t, l, connect(ids[0]), connect(ids[1]), connect(ids[2]))
	const each = indexRecords
	for n := int64(1); n <= each; n++ {
		for _, id := range ids {
			ev := command(id, "NOOP", "", "+OK")
			ev.Message = n
			l.Record(ev)
		}
		if n%(each/8) == 0 {
			keep(t, l, command(0, "", "", ""))
			wantTranscript(t, l.Reader(), ids[1], n)
		}
	}
	waitFor(t, "whole index", func() bool { return ask(t, l.opts.Path, selectIndexed) == fmt.Sprint(l.Health().LastSeq) })
	wantTranscript(t, l.Reader(), ids[2], each)
	wantIndexed(t, l.opts.Path)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantIndexed(t, l.opts.Path)
	const behind = "SELECT count(*) FROM records WHERE session <> 0 AND seq > (" + selectIndexed + ")"
	if got := ask(t, l.opts.Path, behind); got != "0" {
		t.Errorf("%s records of a closed log are not indexed", got)
	}
}

// wantTranscript reads a session, page by page, which has a connect and as many commands, numbered.
func wantTranscript(t *testing.T, r *Reader, id proxy.SessionID, commands int64) {
	t.Helper()
	next, after := int64(0), int64(0)
	for {
		page, err := r.Transcript(t.Context(), id, after, 300)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range page {
			if rec.Session != id || rec.Message != next || rec.Seq <= after {
				t.Fatalf("record %d of the session is number %d: %+v", rec.Message, next, rec)
			}
			next, after = next+1, rec.Seq
		}
		if len(page) < 300 {
			break
		}
	}
	if next != commands+1 {
		t.Errorf("%d records, want %d", next, commands+1)
	}
}

// What a crash left out of the index is added at the next start, and when a failing log heals.
func TestTheIndexIsTakenUpAgain(t *testing.T) {
	id := newID()
	l, room := brokenLog(t, Options{}, id)
	room()
	l.Record(end(id))
	other := newID()
	keep(t, l, connect(other), end(other))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantIndexed(t, l.opts.Path)

	execute(t, l.opts.Path, "DELETE FROM session_records WHERE record > 5; UPDATE meta SET value = '5' WHERE name = 'indexed'")
	l = openLog(t, Options{Path: l.opts.Path})
	waitFor(t, "whole index", func() bool { return ask(t, l.opts.Path, selectIndexed) == fmt.Sprint(l.Health().LastSeq) })
	wantIndexed(t, l.opts.Path)
}

func TestAnOldLogIsIndexed(t *testing.T) {
	path := oldLog(t, 700)
	execute(t, path, "UPDATE records SET session = 1 + seq % 3")
	l := openLog(t, Options{Path: path})
	wantIndexed(t, path)
	recs, err := l.Reader().Transcript(t.Context(), 2, 0, 1000)
	if err != nil || len(recs) != 234 {
		t.Errorf("%d records, %v", len(recs), err)
	}
}

func TestFewRecordsAreIndexedInTime(t *testing.T) {
	l := openLog(t, Options{})
	id := newID()
	keep(t, l, connect(id))
	start := time.Now()
	waitFor(t, "index", func() bool { return ask(t, l.opts.Path, selectIndexed) == fmt.Sprint(l.Health().LastSeq) })
	if took := time.Since(start); took > 10*indexEvery {
		t.Errorf("one record was in the index after %v", took)
	}
}
