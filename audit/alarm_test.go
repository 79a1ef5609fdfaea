package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestNoFalseAlarm verifies again and again while a log is written, thinned, deleted, held and given another key.
func TestNoFalseAlarm(t *testing.T) {
	rules := Rules{Sessions: 365 * day, Messages: 30 * day, Addresses: 30 * day, Users: 30 * day}
	l := openLog(t, Options{Retention: rules})
	file, err := os.Create(filepath.Join(t.TempDir(), "anchors"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			c, newer := l.Newest()
			if _, err := file.WriteString(c.Note); err != nil {
				t.Error(err)
			}
			wait(ctx, newer)
		}
	})
	const sessions = 2000 // of each writer: as they all began in the past, the rules would never come to an end of them
	for w := range 3 {
		all.Go(func() {
			for n := w; n < sessions && ctx.Err() == nil; n++ {
				stroll(l, n, time.Now().Add(-time.Duration(n%3)*200*day))
				time.Sleep(time.Millisecond)
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			if _, err := l.Retain(ctx, "root"); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			h, err := l.AddHold(ctx, Hold{By: "root", Scope: Scope{User: "user1"}, Reason: "a lawsuit"})
			if err == nil {
				_, err = l.ReleaseHold(ctx, h.ID, "root", "it is over")
			}
			if _, e := l.RotateKey(ctx, "root"); ctx.Err() == nil && errors.Join(err, e) != nil {
				t.Error(err, e)
			}
		}
	})
	var seen Verdict
	for n := 0; (n < 12 || seen.Deleted == 0 || seen.Thinned == 0) && n < 1000 && !t.Failed(); n++ {
		seen = *wantGood(t, VerifyOptions{Path: l.opts.Path, Full: n%3 == 0, Keep: true, Anchors: []string{file.Name()}})
	}
	if seen.Deleted == 0 || seen.Thinned == 0 {
		t.Errorf("retention did nothing: %+v", seen)
	}
	cancel()
	all.Wait()
}

// Keys change while a log is verified: what is read of it and the file with the key are never of one moment.
func TestNoFalseAlarmWhileKeysRotate(t *testing.T) {
	l := openLog(t, Options{})
	done := make(chan error, 1)
	go func() {
		for range 300 {
			if _, err := l.RotateKey(t.Context(), "root"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for !t.Failed() && len(done) == 0 {
		wantGood(t, VerifyOptions{Path: l.opts.Path, Keep: true})
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
