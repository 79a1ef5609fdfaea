package tlsup

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// unwatched opens pairs of files whose change nobody notices: who waits for the kernel stops the clock of a bubble.
func unwatched(t *testing.T, c Config) *Source {
	t.Helper()
	s := &Source{config: c, log: c.Logger}
	for _, names := range c.Files {
		p, err := openPair(names, c.Logger, c.Notify)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, p)
	}
	return s
}

// guard has the warden look after s until the test ends.
func guard(t *testing.T, s *Source) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.keep(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// TestAlarms lets time pass over certificates that nobody renews: one alarm of each kind, whatever their life.
func TestAlarms(t *testing.T) {
	const day = 24 * time.Hour
	for name, life := range map[string]time.Duration{"90 days": 90 * day, "6 days": 6 * day, "7 hours": 7 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logBook
				var events eventBook
				p := newLivingPair(t, "pop.example.test", time.Now(), life)
				c := p.config(t, t.TempDir())
				c.Logger, c.Notify = log.logger(t), events.add
				guard(t, unwatched(t, c))
				first, second := min(14*day, life/6), min(3*day, life/30)
				for _, step := range []struct {
					left time.Duration
					want []EventKind
				}{{first + 2*wardenPace, nil}, {first - 2*wardenPace, []EventKind{EventExpiring}}, {second + 2*wardenPace, nil},
					{second - 2*wardenPace, []EventKind{EventExpiring}}, {2 * wardenPace, nil},
					{-2 * wardenPace, []EventKind{EventExpired}}, {-20 * day, nil}} {
					time.Sleep(time.Until(p.leaf.NotAfter.Add(-step.left)))
					synctest.Wait()
					if got := events.take(); !slices.Equal(got, step.want) {
						t.Fatalf("%v before the end: %v, want %v", step.left, got, step.want)
					}
				}
				if got := log.String(); strings.Count(got, c.Files[0].Cert) != 3 || strings.Count(got, "level=ERROR") != 2 {
					t.Errorf("log %s", got)
				}
			})
		})
	}
}

// Who signs for himself may give all his certificates one serial number. Each has its own alarms, each of them once;
// one that was expired when it was opened is told at once.
func TestAlarmsOfOneSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events eventBook
		now := time.Now()
		c := Config{Logger: slog.New(slog.DiscardHandler), Notify: events.add}
		for _, notAfter := range []time.Time{now.Add(-time.Hour), now.Add(50 * time.Hour), now.Add(80 * 24 * time.Hour)} {
			p := newPair(t, "pop.example.test", notAfter, 0)
			c.Files = append(c.Files, p.config(t, t.TempDir()).Files...)
		}
		s := unwatched(t, c)
		for _, p := range s.files {
			p.leaf().SerialNumber.SetInt64(1)
		}
		guard(t, s)
		time.Sleep(time.Hour)
		synctest.Wait()
		got := events.take()
		slices.Sort(got)
		if !slices.Equal(got, []EventKind{EventExpired, EventExpiring}) {
			t.Errorf("events %v", got)
		}
		if len(s.warden.told) != 3 {
			t.Errorf("%d certificates are kept", len(s.warden.told))
		}
	})
}
