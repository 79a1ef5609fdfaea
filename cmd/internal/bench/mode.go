package main

import (
	"fmt"
	"strings"
	"time"
)

// mode is a workload and how its result is told.
type mode struct {
	name  string
	about string
	run   func(*trial) (sample, error)
	// main is the figure that peers are compared by; the first column.
	main figure
	more []figure
	// added compares with what the same load sees of the backend without a peer in between.
	added bool
	// together measures all peers at once: it takes long, and what they do meanwhile is next to nothing.
	together bool
}

// figure is a number of a sample, in the unit that its heading names.
type figure struct {
	heading string
	of      func(sample) float64
	digits  int
}

// sample is one measurement.
type sample struct {
	CPU   time.Duration `json:"cpu"`   // of the peer's processes
	Wall  time.Duration `json:"wall"`  // of the load
	Work  int64         `json:"work"`  // sessions, commands or octets
	P50   time.Duration `json:"p50"`   // of an operation's time, and
	P99   time.Duration `json:"p99"`   // its 99th percentile
	Bytes int64         `json:"bytes"` // of memory that Work idle sessions took
}

var (
	cpuPerSession = figure{"CPU µs/session", func(s sample) float64 { return micros(s.CPU) / float64(s.Work) }, 0}
	cpuPerCommand = figure{"CPU µs/command", func(s sample) float64 { return micros(s.CPU) / float64(s.Work) }, 1}
	cpuPerGB      = figure{"CPU s/GB", func(s sample) float64 { return s.CPU.Seconds() / float64(s.Work) * 1e9 }, 2}
	sessionRate   = figure{"sessions/s", rate, 0}
	commandRate   = figure{"commands/s", rate, 0}
	megabyteRate  = figure{"MB/s", func(s sample) float64 { return rate(s) / 1e6 }, 0}
	p50           = figure{"p50 µs", func(s sample) float64 { return micros(s.P50) }, 0}
	p99           = figure{"p99 µs", func(s sample) float64 { return micros(s.P99) }, 0}
	kibPerSession = figure{"KiB/session", func(s sample) float64 { return float64(s.Bytes) / float64(s.Work) / 1024 }, 1}
)

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func rate(s sample) float64          { return float64(s.Work) / s.Wall.Seconds() }

// modes are all workloads, in the order of the report.
var modes = []mode{
	{name: "short-8", about: "Whole sessions, 8 clients at once: full handshake, login, STAT, UIDL, 3 RETR of 2 KiB, QUIT",
		run: short(8), main: cpuPerSession, more: []figure{sessionRate, p99}},
	{name: "short-64", about: "Whole sessions, 64 clients at once: full handshake, login, STAT, UIDL, 3 RETR of 2 KiB, QUIT",
		run: short(64), main: cpuPerSession, more: []figure{sessionRate, p99}},
	{name: "bulk-1", about: "RETR of 64 MiB over and over, one session",
		run: steady(1, bulk, retrieve), main: cpuPerGB, more: []figure{megabyteRate}},
	{name: "bulk-2", about: "RETR of 64 MiB over and over, two sessions",
		run: steady(2, bulk, retrieve), main: cpuPerGB, more: []figure{megabyteRate}},
	{name: "medium", about: "RETR of 40 KiB over and over, 4 sessions",
		run: steady(4, medium, retrieve), main: cpuPerGB, more: []figure{megabyteRate, p99}},
	{name: "chatty-1", about: "STAT, LIST 1, UIDL 2, NOOP in turn, one at a time, one session alone",
		run: steady(1, small, chat), main: cpuPerCommand, more: []figure{commandRate, p99}},
	{name: "chatty-16", about: "STAT, LIST 1, UIDL 2, NOOP in turn, one at a time, 16 sessions",
		run: steady(16, small, chat), main: cpuPerCommand, more: []figure{commandRate, p99}},
	{name: "pipelined", about: "32 commands in one write, over and over, 4 sessions",
		run: steady(4, medium, pipeline), main: cpuPerCommand, more: []figure{commandRate}},
	{name: "paced-idle", about: "200 commands a second in one session, and nothing else: what the peer adds to a command's time",
		run: paced(1, 200), main: p50, more: []figure{p99}, added: true},
	{name: "paced-load", about: "100 commands a second in each of 32 sessions: what the peer adds to a command's time",
		run: paced(32, 100), main: p50, more: []figure{p99, cpuPerCommand}, added: true},
	{name: "idle", about: "Memory (PSS) that a logged-in session takes while it waits",
		run: idle, main: kibPerSession, together: true},
}

// chooseModes returns the modes named in a list, all for "all"; a name also stands for those that begin with it and
// a dash.
func chooseModes(list string) (chosen []mode, err error) {
	if list == "all" {
		return modes, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		n := len(chosen)
		for _, m := range modes {
			if m.name == name || strings.HasPrefix(m.name, name+"-") {
				chosen = append(chosen, m)
			}
		}
		if len(chosen) == n {
			return nil, fmt.Errorf("no mode %q; there are %s", name, strings.Join(names(modes, func(m mode) string { return m.name }), ", "))
		}
	}
	return chosen, nil
}

func names[T any](all []T, of func(T) string) (list []string) {
	for _, e := range all {
		list = append(list, of(e))
	}
	return list
}

// percentile returns the p-th of sorted times by rank, 0 of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
