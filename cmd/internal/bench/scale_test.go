package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// smallScale is a plan that takes moments.
func smallScale(t *testing.T) *scale {
	return &scale{parts: []string{"crowd", "steps", "growth"}, idle: 40, active: 10, perSecond: 20, steps: []int{3, 12}, rate: 200, rounds: 1,
		size: 4 << 20, writers: 8, span: 200 * time.Millisecond, rest: 50 * time.Millisecond, binary: buildPostern(t), dir: t.TempDir(),
		files: 550, progress: t.Output()} // so few files that the crowd needs two crews
}

// TestScale measures all parts for a moment, on Postern as it is shipped.
func TestScale(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a Postern that is not root's hides its memory from itself")
	}
	s := smallScale(t)
	r, err := s.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Crowd; c.Posterns != 2 || c.Alone.Work <= 0 || c.Beside.P50 <= 0 || c.Kept < c.Alone.Work+c.Beside.Work+3*50 {
		t.Errorf("crowd %+v", c)
	}
	for i, one := range r.Steps {
		if one.Sessions != s.steps[i] || len(one.Turns) != 1 || one.turns() <= 0 || one.few() <= 0 {
			t.Errorf("step %+v", one)
		}
	}
	g := r.Growth
	if last := g.Stretches[stretches-1]; last.Size < s.size || last.Work <= 0 || last.P50 <= 0 || last.P50 > last.P99 || g.Open <= 0 {
		t.Errorf("the log grew to %+v, opened in %v", last, g.Open)
	}
	if want := 6 * (looks - 1 + 2); len(g.Looks) != want {
		t.Errorf("%d looks, want %d", len(g.Looks), want)
	}
	out := t.TempDir()
	if err := r.write(out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scale-sessions.svg", "scale-size.svg"} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err == nil {
			err = xml.Unmarshal(text, new(struct{}))
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "run-*")); len(left) > 0 {
		t.Errorf("crews left behind: %v", left)
	}
}

func TestScaleFlags(t *testing.T) {
	for _, bad := range [][]string{{"-steps", "10,x"}, {"-idle", "0"}, {"-gigabytes", "0"}, {"more"}, {"-parts", "crow"}} {
		if err := runScale(t.Context(), append([]string{"-dir", t.TempDir(), "-out", t.TempDir()}, bad...)); err == nil {
			t.Errorf("%v passes", bad)
		}
	}
	s, _, err := parseScale([]string{"-dir", t.TempDir(), "-steps", "100,10", "-gigabytes", "0.5", "-parts", "steps"})
	if err != nil || s.steps[0] != 10 || s.steps[1] != 100 || s.size != 5e8 {
		t.Errorf("%+v, %v", s, err)
	}
}

// Files that do not suffice for a number of sessions lower it.
func TestStepsFit(t *testing.T) {
	s := scale{steps: []int{10, 1000, 10_000, 20_000}, files: 20_000, progress: t.Output()}
	if s.fit(); !slices.Equal(s.steps, []int{10, 1000, 9750}) {
		t.Errorf("%v", s.steps)
	}
}

// A line chart spans its values, and its axis is marked by round numbers.
func TestLineChart(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 0.9: 1, 1.1: 2, 37: 40, 70: 80, 81: 100, 1200: 2000} {
		if got := ceiling(v); got != want {
			t.Errorf("an axis for %g ends at %g, want %g", v, got, want)
		}
	}
	c := lineChart{title: "a<b", log: true, panels: []panel{{lines: []line{{"fast", "ours", []point{{10, 5}, {1000, 10}}}}}}}
	got := c.svg()
	for _, want := range []string{"<title>a&lt;b</title>", "M56.0 117.0L570.0 52.0", ">100<", ">1,000<"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
