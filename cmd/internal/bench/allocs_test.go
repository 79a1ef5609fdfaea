package main

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the baseline of allocations anew")

// guarded names, by package, the benchmarks whose allocations are held to the baseline: the scanner and the parser, the
// relay of a command, the way of a record, its commit and who tails it.
var guarded = map[string]string{
	"proxy/pop3": "Body|Command|Reply|Capabilities",
	"proxy":      "Relay|Pipelined",
	"audit":      "Relaxed|Seal|One|Commit|Tail",
}

// baseline has a line for each benchmark: package, name, allocations an operation.
const baseline = "testdata/allocs.txt"

// TestAllocations fails when a benchmark allocates more an operation than the committed baseline says. Allocations are
// stable where times are not, and most of what makes a hot path slow in Go shows in them. It runs go test, which builds
// without the race detector whatever this test runs under: that allocates on its own account. To take new figures for
// good, run
//
//	go test ./cmd/internal/bench -run TestAllocations -update
func TestAllocations(t *testing.T) {
	got := map[string]int64{}
	for pkg, benchmarks := range guarded {
		maps.Copy(got, allocations(t, pkg, benchmarks))
	}
	if *update {
		writeBaseline(t, got)
	}
	want := readBaseline(t)
	if slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(name string) bool { return got[name] > most(want[name]) }) {
		for pkg, benchmarks := range guarded { // once more: what disturbs a benchmark only ever adds
			for name, n := range allocations(t, pkg, benchmarks) {
				got[name] = min(n, got[name])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		n, known := want[name]
		switch {
		case !known:
			t.Errorf("%s has no line in the baseline: -update adds it", name)
		case got[name] > most(n):
			t.Errorf("%s allocates %d times an operation, %d by the baseline", name, got[name], n)
		case got[name] < n-n/8:
			t.Logf("%s allocates %d times an operation, %d by the baseline: -update keeps what was won", name, got[name], n)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s stands in the baseline and is no more", name)
	}
}

// most leaves a little room to those that allocate hundreds of times: how a batch falls is chance.
func most(n int64) int64 { return n + n/16 }

// result matches a line such as "BenchmarkBody/blank-2   500   1234 ns/op   0 B/op   3 allocs/op".
var result = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s.*\s(\d+) allocs/op`)

// allocations runs benchmarks of a package and returns what each allocates an operation.
func allocations(t *testing.T, pkg, benchmarks string) map[string]int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-run", "^$", "-bench", "^Benchmark("+benchmarks+")$", "-benchmem",
		"-benchtime", "500x", "-timeout", "5m", module+pkg)
	cmd.Env = append(os.Environ(), "GOFLAGS=") // not -race by way of it
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	all := map[string]int64{}
	for line := range bytes.Lines(out) {
		if m := result.FindSubmatch(line); m != nil {
			all[pkg+" "+string(m[1])], _ = strconv.ParseInt(string(m[2]), 10, 64) // digits
		}
	}
	for name := range strings.SplitSeq(benchmarks, "|") {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(all)), func(k string) bool { return strings.HasPrefix(k+"/", pkg+" "+name+"/") }) {
			t.Errorf("%s has no benchmark %s", pkg, name)
		}
	}
	return all
}

const module = "postern/"

func readBaseline(t *testing.T) map[string]int64 {
	t.Helper()
	f, err := os.Open(baseline)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]int64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ') + 1
		n, err := strconv.ParseInt(line[i:], 10, 64)
		if err != nil || i < 2 {
			t.Fatalf("%s: %q is no name with a number", baseline, line)
		}
		all[line[:i-1]] = n
	}
	return all
}

func writeBaseline(t *testing.T, all map[string]int64) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(all), cmp.Compare[string]) {
		fmt.Fprintf(&b, "%s %d\n", name, all[name])
	}
	if err := os.WriteFile(baseline, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
