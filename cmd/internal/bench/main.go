// Command bench measures Postern beside HAProxy, nginx, hitch, stunnel and Dovecot, doing the same work: POP3S in
// front of a plain POP3 server. make bench-peers runs it, and docs/performance.md says how and what it found.
//
// It is the load and the backend, both of which know every octet that must come. It starts one peer at a time in
// front of the backend, checks that its TLS is the one that is compared, puts a mode's load on it, and reads from
// /proc what its processes took. mode.go lists the workloads, peer.go the peers; bench.go has the rounds, report.go
// and chart.go tell the results. With scale as its first argument it measures how Postern's costs grow with sessions and
// with the log's size (scale.go), for make bench-scale. It is no part of the product, which runs as people install it: the one exception is
// Postern's relay without a log, a column of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case scaleCommand:
			return runScale(ctx, args[1:])
		case crewCommand:
			return serveCrew(ctx, args[1:])
		case unloggedCommand:
			return serveUnlogged(ctx, args[1:])
		}
	}
	p, out, err := parsePlan(args)
	if err != nil {
		return err
	}
	if _, err := raiseFiles(); err != nil {
		return err
	}
	b, err := newBench(p)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.run(ctx); err != nil {
		return err
	}
	return write(b.results, out)
}

// parsePlan reads the flags; out is the folder of the results.
func parsePlan(args []string) (p plan, out string, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	modeList := flags.String("modes", "all", "`list` of workloads, such as short,idle or short-64")
	peerList := flags.String("peers", "all", "`list` of peers, such as haproxy,postern")
	flags.IntVar(&p.rounds, "rounds", 5, "`n` measurements of each mode with each peer")
	seconds := flags.Float64("seconds", 2, "`time` in seconds of one measurement")
	flags.IntVar(&p.idle, "idle", 500, "`n` sessions of mode idle, with each peer")
	rest := flags.Float64("rest", 25, "`time` in seconds that they are left alone before memory is read")
	flags.StringVar(&p.dir, "dir", ".bench", "`folder` on a real disk where peers run")
	flags.StringVar(&p.binary, "postern", "./postern", "`path` of the program, as make build makes it")
	flags.Uint64Var(&p.seed, "seed", rand.Uint64()%1_000_000, "`n` that the order of the peers comes from")
	flags.StringVar(&out, "out", ".bench", "`folder` for peers.md, peers.svg and peers.json")
	if err := flags.Parse(args); err != nil {
		return p, "", err
	}
	p.span, p.rest = time.Duration(*seconds*float64(time.Second)), time.Duration(*rest*float64(time.Second))
	p.bulkSize, p.progress = bulkOctets, os.Stderr
	if p.modes, err = chooseModes(*modeList); err != nil {
		return p, "", err
	}
	if p.peers, err = choosePeers(*peerList); err != nil {
		return p, "", err
	}
	if flags.NArg() > 0 || p.rounds < 1 || p.span <= 0 || p.idle < 1 {
		return p, "", errors.New("there are no arguments, and rounds, seconds and idle are more than 0; see -help")
	}
	if p.binary, err = filepath.Abs(p.binary); err != nil {
		return p, "", err
	}
	if _, err := os.Stat(p.binary); err != nil {
		return p, "", fmt.Errorf("%w: make build makes it", err)
	}
	return p, out, memoryDisk(p.dir)
}

// memoryDisk refuses a folder where nothing ever reaches a disk: a commit would cost nothing.
func memoryDisk(dir string) error {
	const tmpfs = 0x01021994
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if fs.Type == tmpfs {
		return fmt.Errorf("%s is in memory, where a commit costs nothing: give a folder on a disk as -dir", dir)
	}
	return nil
}

// raiseFiles lets this program and every peer open as many files as the system allows, and returns how many that are.
// Set by hand, since what the runtime raises by itself is not inherited.
func raiseFiles() (files int, err error) {
	const enough = 65_536 // some set up as many places as they may open files
	limit := syscall.Rlimit{Cur: enough, Max: enough}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil { // root may as a rule
		return enough, nil
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("file limit: %w", err)
	}
	limit.Cur = min(limit.Max, enough)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("file limit: %w", err)
	}
	return int(limit.Cur), nil
}

// write prints the report and keeps it, the chart and the samples.
func write(r *results, dir string) error {
	report := r.report()
	fmt.Print(report)
	raw, err := r.raw()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"peers.md": report, "peers.svg": r.chart(), "peers.json": string(raw) + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "took %v; %s has peers.md, peers.svg and peers.json\n", r.took(), dir)
	return nil
}
