package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postern/audit"
)

// growth is the part of the scale in which a log becomes large: what a record costs while it does, and how long it takes
// to read.
type growth struct {
	Writers   int
	Stretches []stretch
	Open      time.Duration // of the whole log, nothing of which the system has in memory
	Looks     []look
}

// stretch is what was written from one size to the next. Its sample's work is records; an operation is the wait of a
// session from a record until it is on disk.
type stretch struct {
	Size    int64 // of the database where it ended
	Commits int64
	Commit  time.Duration // the mean of the commits themselves
	sample
}

const (
	stretches  = 40 // in all
	looks      = 4  // times that the log is read on its way
	sizeEvery  = 20 * time.Millisecond
	logYear    = 365 * 24 * time.Hour // that the log spans when it has grown
	perSession = 6_000                // octets that a session takes in the log, about
)

// measureGrowth lets sessions write a log until it is large.
func (s *scale) measureGrowth(ctx context.Context) (*growth, error) {
	path := filepath.Join(s.dir, "audit.db")
	if err := roomFor(s.dir, s.size); err != nil {
		return nil, err
	}
	options := audit.Options{Path: path}
	l, err := audit.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	g := &growth{Writers: s.writers}
	if err := g.grow(ctx, s, l, path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return g, g.reopen(ctx, options)
}

// reopen opens the log that has grown, of which nothing is in memory, and reads it.
func (g *growth) reopen(ctx context.Context, o audit.Options) error {
	f, err := os.Open(o.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = forget(f)
	}
	if err != nil {
		return err
	}
	began := time.Now()
	l, err := audit.Open(ctx, o)
	if err != nil {
		return err
	}
	g.Open = time.Since(began)
	for _, cold := range []*os.File{f, nil} {
		err = errors.Join(err, g.look(ctx, l.Reader(), info.Size(), cold))
	}
	return errors.Join(err, l.Close())
}

// roomFor refuses a disk on which the log would not fit.
func roomFor(dir string, size int64) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * int64(fs.Bsize); free < size+size/4 {
		return fmt.Errorf("%s has %d MB free: choose another folder as -dir, or fewer -gigabytes", dir, free/1e6)
	}
	return nil
}

// grow writes until the database has its size, and reads it now and then.
func (g *growth) grow(ctx context.Context, s *scale, l *audit.Log, path string) error {
	diary := newDiary(s.size)
	for n := range stretches {
		one, err := diary.write(ctx, l, path, s.writers, s.size*int64(n+1)/stretches)
		if err != nil {
			return err
		}
		g.Stretches = append(g.Stretches, one)
		s.say("%.1f GB: p50 %.2f ms, p99 %.2f ms, %.1f µs/record, %.0f records/s", float64(one.Size)/1e9, micros(one.P50)/1000,
			micros(one.P99)/1000, cpuPerCommand.of(one.sample), rate(one.sample))
		if (n+1)%(stretches/looks) == 0 && n+1 < stretches {
			if err := g.look(ctx, l.Reader(), one.Size, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// write has sessions write until the database is that large.
func (d *diary) write(ctx context.Context, l *audit.Log, path string, writers int, until int64) (s stretch, err error) {
	before, used, began := l.Health(), processorTime(), time.Now()
	var full atomic.Bool
	waits, errs := make([][]time.Duration, writers), make([]error, writers)
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() {
			for errs[i] == nil && !full.Load() {
				waits[i], errs[i] = d.session(l, waits[i])
			}
		})
	}
	for s.Size < until && err == nil && l.Health().OK {
		time.Sleep(sizeEvery)
		s.Size, err = sizeOf(path)
		err = errors.Join(err, ctx.Err())
	}
	full.Store(true)
	running.Wait()
	after := l.Health()
	all := slices.Concat(waits...)
	slices.Sort(all)
	s.sample = sample{CPU: processorTime() - used, Wall: time.Since(began), Work: after.Records - before.Records,
		P50: percentile(all, 0.50), P99: percentile(all, 0.99)}
	s.Commits = after.Commits - before.Commits
	s.Commit = (after.Latency.Sum - before.Latency.Sum) / time.Duration(max(1, after.Latency.Count-before.Latency.Count))
	return s, errors.Join(err, first(errs))
}

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// processorTime is what this process has computed so far.
func processorTime() time.Duration { return clockOf(os.Getpid()) }

func (g *growth) report(b *strings.Builder) {
	last := g.Stretches[len(g.Stretches)-1]
	fmt.Fprintf(b, "\n### A log that grows to %.1f GB\n\n%d sessions at once that wait for each record.\n\n", float64(last.Size)/1e9, g.Writers)
	b.WriteString("| size, GB | wait for a record, p50 / p99 ms | commit, mean ms | records a commit | CPU µs/record | records/s |\n|--:|--:|--:|--:|--:|--:|\n")
	for n, s := range g.Stretches {
		if (n+1)%looks == 0 || n == 0 {
			fmt.Fprintf(b, "| %.1f | %.2f / %.2f | %.2f | %.0f | %.1f | %.0f |\n", float64(s.Size)/1e9, micros(s.P50)/1000, micros(s.P99)/1000,
				micros(s.Commit)/1000, float64(s.Work)/float64(s.Commits), cpuPerCommand.of(s.sample), rate(s.sample))
		}
	}
	fmt.Fprintf(b, "\nOpened again, of which nothing was in memory: %.0f ms.\n\n| size, GB | question | ms |\n|--:|---|--:|\n", micros(g.Open)/1000)
	for _, l := range g.Looks {
		what := l.What
		if l.Cold {
			what += ", from the disk"
		}
		fmt.Fprintf(b, "| %.1f | %s | %.1f |\n", float64(l.Size)/1e9, what, micros(l.Took)/1000)
	}
}

// chart has a panel for how long a record takes and one for what it costs.
func (g *growth) chart() string {
	var half, most, cpu []point
	for _, s := range g.Stretches {
		x := float64(s.Size) / 1e9
		half, most = append(half, point{x, micros(s.P50) / 1000}), append(most, point{x, micros(s.P99) / 1000})
		cpu = append(cpu, point{x, cpuPerCommand.of(s.sample)})
	}
	return lineChart{title: "What a record takes, by the size of the log", x: "GB in the log", panels: []panel{
		{title: "ms until a record is on disk", about: fmt.Sprintf("%d sessions at once that wait for each record", g.Writers),
			lines: []line{{"99th percentile", "bar", most}, {"median", "ours", half}}},
		{title: "CPU µs a record", about: "of the whole process", lines: []line{{"", "ours", cpu}}},
	}}.svg()
}
