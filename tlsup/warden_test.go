package tlsup

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAlarms lets time pass over certificates that nobody renews: one alarm of each kind, whatever their life.
func TestAlarms(t *testing.T) {
	const day = 24 * time.Hour
	for name, life := range map[string]time.Duration{"90 days": 90 * day, "6 days": 6 * day, "a year": 365 * day} {
		t.Run(name, func(t *testing.T) {
			var log logBook
			var events eventBook
			start := time.Now()
			p := newLivingPair(t, "pop.example.test", start, life)
			c := p.config(t, t.TempDir())
			c.Logger, c.Notify = log.logger(t), events.add
			s := open(t, c)
			first, second := min(14*day, life/6), min(3*day, life/30)
			for _, step := range []struct {
				left time.Duration
				want int
			}{{life - time.Minute, 0}, {first + time.Hour/2, 0}, {first - time.Minute, 1}, {first - time.Hour, 1}, {second - time.Minute, 2},
				{second / 2, 2}, {-time.Minute, 3}, {-day, 3}} {
				s.look(p.leaf.NotAfter.Add(-step.left))
				if got := events.kinds(); len(got) != step.want {
					t.Fatalf("%v before the end: %v, want %d", step.left, got, step.want)
				}
			}
			if got, want := events.kinds(), []EventKind{EventExpiring, EventExpiring, EventExpired}; !slices.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
			if got := log.String(); strings.Count(got, c.Files[0].Cert) != 3 || strings.Count(got, "level=ERROR") != 2 {
				t.Errorf("log %s", got)
			}
		})
	}
}
