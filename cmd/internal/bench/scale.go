package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// scaleCommand is the first argument by which this program measures how Postern's costs grow: many sessions at once, one
// session more, and a log that becomes large. docs/performance.md says how it is read.
const scaleCommand = "scale"

// scale says what is measured.
type scale struct {
	parts        []string
	idle, active int     // sessions of the crowd
	perSecond    float64 // commands of each active one
	steps        []int   // numbers of sessions
	rate         float64 // commands a second of all sessions of a step
	rounds       int     // of each step
	size         int64   // to which the log grows
	writers      int     // sessions at once that write it
	span, rest   time.Duration
	binary, dir  string
	files        int // that a process may open
	progress     io.Writer
}

// scaled is what came of it; parts that were not asked for are nil.
type scaled struct {
	Machine string
	Began   time.Time
	Crowd   *crowd  `json:",omitempty"`
	Rate    float64 // of Steps
	Steps   []step  `json:",omitempty"`
	Growth  *growth `json:",omitempty"`
}

func runScale(ctx context.Context, args []string) error {
	s, out, err := parseScale(args)
	if err != nil {
		return err
	}
	if s.files, err = raiseFiles(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp(s.dir, "scale-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	r, err := s.run(ctx)
	if err != nil {
		return err
	}
	return r.write(out)
}

// parseScale reads the flags; out is the folder of the results.
func parseScale(args []string) (s *scale, out string, err error) {
	s = &scale{progress: os.Stderr, writers: 64}
	flags := flag.NewFlagSet(scaleCommand, flag.ContinueOnError)
	parts := flags.String("parts", "crowd,steps,growth", "`list` of what is measured")
	flags.IntVar(&s.idle, "idle", 20_000, "`n` idle sessions of the crowd, and")
	flags.IntVar(&s.active, "active", 2_000, "`n` active ones, each of which gives")
	flags.Float64Var(&s.perSecond, "per-second", 1, "`n` commands a second")
	steps := flags.String("steps", "10,30,100,300,1000,3000,10000", "`list` of numbers of sessions, all of which together give")
	flags.Float64Var(&s.rate, "rate", 1000, "`n` commands a second")
	flags.IntVar(&s.rounds, "rounds", 3, "`n` measurements of each number of sessions")
	gigabytes := flags.Float64("gigabytes", 20, "`size` to which the log grows")
	seconds := flags.Float64("seconds", 30, "`time` in seconds of one measurement")
	rest := flags.Float64("rest", 25, "`time` in seconds that sessions are left alone before memory is read")
	flags.StringVar(&s.dir, "dir", ".bench", "`folder` on a real disk")
	flags.StringVar(&s.binary, "postern", "./postern", "`path` of the program, as make build makes it")
	flags.StringVar(&out, "out", ".bench", "`folder` for scale.md, scale.json and the charts")
	if err := flags.Parse(args); err != nil {
		return nil, "", err
	}
	s.parts = strings.Split(*parts, ",")
	s.size = int64(*gigabytes * 1e9)
	s.span, s.rest = time.Duration(*seconds*float64(time.Second)), time.Duration(*rest*float64(time.Second))
	if s.steps, err = parseSteps(*steps); err != nil {
		return nil, "", err
	}
	if flags.NArg() > 0 || s.idle < 1 || s.active < 1 || s.perSecond <= 0 || s.rate <= 0 || s.rounds < 1 || s.size <= 0 || s.span <= 0 {
		return nil, "", errors.New("there are no arguments, and numbers are more than 0; see -help")
	}
	if s.binary, err = filepath.Abs(s.binary); err != nil {
		return nil, "", err
	}
	return s, out, memoryDisk(s.dir)
}

// run measures the parts, one after the other.
func (s *scale) run(ctx context.Context) (r *scaled, err error) {
	r = &scaled{Machine: machine(), Began: time.Now().UTC(), Rate: s.rate}
	for _, part := range s.parts {
		switch part {
		case "crowd":
			r.Crowd, err = s.measureCrowd(ctx)
		case "steps":
			r.Steps, err = s.measureSteps(ctx)
		case "growth":
			r.Growth, err = s.measureGrowth(ctx)
		default:
			err = errors.New("there are crowd, steps and growth")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
	}
	return r, nil
}

// say tells how far the measurement is.
func (s *scale) say(format string, args ...any) { fmt.Fprintf(s.progress, format+"\n", args...) }

// report is the results as Markdown.
func (r *scaled) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %s.\n", r.Began.Format("2006-01-02 15:04 UTC"), r.Machine)
	if r.Crowd != nil {
		r.Crowd.report(&b)
	}
	if r.Steps != nil {
		reportSteps(&b, r.Steps, r.Rate)
	}
	if r.Growth != nil {
		r.Growth.report(&b)
	}
	return b.String()
}

// write prints the report and keeps it, the charts and the figures.
func (r *scaled) write(dir string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	files := map[string]string{"scale.md": r.report(), "scale.json": string(raw) + "\n"}
	if r.Steps != nil {
		files["scale-sessions.svg"] = stepsChart(r.Steps, r.Rate)
	}
	if r.Growth != nil {
		files["scale-size.svg"] = r.Growth.chart()
	}
	fmt.Print(files["scale.md"])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	fmt.Fprintf(os.Stderr, "took %v; %s has scale.md, scale.json and the charts\n", time.Since(r.Began).Round(time.Second), dir)
	return err
}
