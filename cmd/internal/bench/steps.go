package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// step is what so many sessions cost. The commands of all together come at one rate, however many there are.
type step struct {
	Sessions int
	Turns    []sample // every session speaks in its turn; a round each
	Few      []sample // few speak, the others rest
	Bytes    int64    // of memory that the sessions took
}

const (
	few  = 10  // speak while the others rest
	many = 100 // whose memory outweighs what Postern needs once
)

// measureSteps measures one step after the other, each with a Postern of its own.
func (s *scale) measureSteps(ctx context.Context) (steps []step, err error) {
	s.fit()
	for _, n := range s.steps {
		one, err := s.measureStep(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%d sessions: %w", n, err)
		}
		s.say("%d sessions: %.1f and %.1f µs a command, %.1f KiB a session", n, one.turns(), one.few(), one.kib())
		steps = append(steps, one)
	}
	return steps, nil
}

func (s *scale) measureStep(ctx context.Context, n int) (one step, err error) {
	one.Sessions = n
	all, err := startCrews(ctx, s.binary, s.dir, n, s.files)
	if err != nil {
		return one, err
	}
	defer all.end(&err)
	if err := all.do("Warm"); err != nil {
		return one, err
	}
	time.Sleep(s.rest)
	before, err := all.memory()
	if err != nil {
		return one, err
	}
	if err := all.login(n); err != nil {
		return one, err
	}
	time.Sleep(s.rest)
	after, err := all.memory()
	if err != nil {
		return one, err
	}
	one.Bytes = after - before
	for range s.rounds {
		turns, err := all.pace(n, s.rate/float64(n), s.span)
		if err != nil {
			return one, err
		}
		speakers := min(few, n)
		some, err := all.pace(speakers, s.rate/float64(speakers), s.span)
		if err != nil {
			return one, err
		}
		one.Turns, one.Few = append(one.Turns, turns), append(one.Few, some)
	}
	if err := all.do("Check"); err != nil {
		return one, err
	}
	_, err = all.kept()
	return one, err
}

func (s *step) turns() float64 { return median(s.Turns, cpuPerCommand) }
func (s *step) few() float64   { return median(s.Few, cpuPerCommand) }
func (s *step) kib() float64   { return float64(s.Bytes) / float64(s.Sessions) / 1024 }

// median is the middle of a figure of some samples.
func median(samples []sample, f figure) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, f.of(s))
	}
	return spreadOf(values).median
}

func reportSteps(b *strings.Builder, steps []step, rate float64) {
	fmt.Fprintf(b, "\n### Cost by the number of sessions\n\n%.0f commands a second of all together.\n\n", rate)
	b.WriteString("| sessions | each in its turn, CPU µs/command | p50 / p99 ms | 10 speak, the others rest, CPU µs/command | p50 / p99 ms | KiB/session |\n|--:|--:|--:|--:|--:|--:|\n")
	for _, s := range steps {
		fmt.Fprintf(b, "| %d | %.1f | %s | %.1f | %s | %.1f |\n", s.Sessions, s.turns(), latencies(s.Turns), s.few(), latencies(s.Few), s.kib())
	}
}

func latencies(samples []sample) string {
	return fmt.Sprintf("%.2f / %.2f", median(samples, p50)/1000, median(samples, p99)/1000)
}

// stepsChart has a panel for computing and one for memory.
func stepsChart(steps []step, rate float64) string {
	var turns, resting, kib []point
	for _, s := range steps {
		x := float64(s.Sessions)
		turns, resting = append(turns, point{x, s.turns()}), append(resting, point{x, s.few()})
		if s.Sessions >= many {
			kib = append(kib, point{x, s.kib()})
		}
	}
	return lineChart{title: "What a session costs, by how many there are", x: "sessions", log: true, panels: []panel{
		{title: "CPU µs a command", about: fmt.Sprintf("%.0f commands a second of all sessions together", rate),
			lines: []line{{"each in its turn", "ours", turns}, {"10 speak, the others rest", "light", resting}}},
		{title: "KiB a session", about: fmt.Sprintf("memory (PSS) while all rest, less what Postern had before they came; of %d or more", many),
			lines: []line{{"", "ours", kib}}},
	}}.svg()
}

// fit lowers numbers of sessions that one Postern has not enough files for.
func (s *scale) fit() {
	for i, n := range s.steps {
		if most := sessionsWithin(s.files); n > most {
			s.say("%d files are enough for %d sessions, not %d: ulimit -n raises that", s.files, most, n)
			s.steps[i] = most
		}
	}
	s.steps = slices.Compact(s.steps)
}

// parseSteps reads numbers of sessions.
func parseSteps(list string) (steps []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		var n int
		if _, err := fmt.Sscan(word, &n); err != nil || n < 1 {
			return nil, fmt.Errorf("-steps: %q is no number of sessions", word)
		}
		steps = append(steps, n)
	}
	slices.Sort(steps)
	return steps, nil
}
