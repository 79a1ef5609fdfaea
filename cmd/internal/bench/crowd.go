package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// crowd is the part of the scale that holds many sessions at once: most of them idle, some at work.
type crowd struct {
	Idle, Active int
	PerSecond    float64 // commands of each that is active
	Posterns     int     // among which the descriptors made us divide them
	Logins       float64 // a second, while they came
	Alone        sample  // the active ones before the idle came
	Beside       sample  // and beside them
	Silence      sample  // all of them silent
	Bytes        int64   // of memory that all took when they were silent
	Kept         int64   // commands on record, which are all that were said
}

// measureCrowd logs the active ones in and lets them work, lets the idle ones come and all rest, and lets the active ones
// work again. Then everyone must answer, and every command must be on record.
func (s *scale) measureCrowd(ctx context.Context) (c *crowd, err error) {
	c = &crowd{Idle: s.idle, Active: s.active, PerSecond: s.perSecond}
	all, err := startCrews(ctx, s.binary, s.dir, s.idle+s.active, s.files)
	if err != nil {
		return nil, err
	}
	defer all.end(&err)
	c.Posterns = len(all)
	if err := all.do("Warm"); err != nil {
		return nil, err
	}
	time.Sleep(s.rest)
	before, err := all.memory()
	if err != nil {
		return nil, err
	}
	s.say("%d active", s.active)
	if err := all.login(s.active); err != nil {
		return nil, err
	}
	if c.Alone, err = all.pace(s.active, s.perSecond, s.span); err != nil {
		return nil, err
	}
	if err := c.come(s, all); err != nil {
		return nil, err
	}
	c.Bytes -= before
	s.say("%d active beside them", s.active)
	if c.Beside, err = all.pace(s.active, s.perSecond, s.span); err != nil {
		return nil, err
	}
	if err := all.do("Check"); err != nil {
		return nil, err
	}
	c.Kept, err = all.kept()
	return c, err
}

// come lets the idle ones log in and all rest, and notes what that takes.
func (c *crowd) come(s *scale, all crews) (err error) {
	s.say("%d idle come", s.idle)
	began := time.Now()
	if err := all.login(s.idle); err != nil {
		return err
	}
	c.Logins = float64(s.idle) / time.Since(began).Seconds()
	s.say("they rest")
	time.Sleep(s.rest)
	if c.Bytes, err = all.memory(); err != nil {
		return err
	}
	c.Silence, err = all.silence(s.idle+s.active, s.span)
	return err
}

// silence measures what sessions cost that say nothing.
func (all crews) silence(sessions int, span time.Duration) (sample, error) {
	before, err := all.cpu()
	if err != nil {
		return sample{}, err
	}
	time.Sleep(span)
	after, err := all.cpu()
	return sample{CPU: after - before, Wall: span, Work: int64(sessions)}, err
}

func (c *crowd) report(b *strings.Builder) {
	fmt.Fprintf(b, "\n### %d idle sessions and %d active ones\n\n%d Postern(s); each active session gives %g command(s) a second.\n\n", c.Idle, c.Active, c.Posterns, c.PerSecond)
	fmt.Fprintf(b, "| | |\n|---|--:|\n| logins a second | %.0f |\n", c.Logins)
	fmt.Fprintf(b, "| memory (PSS) of a session while all are silent | %.1f KiB |\n", float64(c.Bytes)/float64(c.Idle+c.Active)/1024)
	fmt.Fprintf(b, "| CPU while all are silent | %.1f ms a second |\n", float64(c.Silence.CPU.Microseconds())/1000/c.Silence.Wall.Seconds())
	c.reportActive(b, "alone", c.Alone)
	c.reportActive(b, "beside the idle", c.Beside)
	fmt.Fprintf(b, "| commands said, and on record | %d |\n", c.Kept)
}

func (c *crowd) reportActive(b *strings.Builder, where string, s sample) {
	fmt.Fprintf(b, "| the active ones %s: p50 / p99 | %.2f / %.2f ms |\n", where, micros(s.P50)/1000, micros(s.P99)/1000)
	fmt.Fprintf(b, "| CPU a command | %.0f µs |\n", cpuPerCommand.of(s))
}
