package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// plan says what is measured, how often and where.
type plan struct {
	modes    []mode
	peers    []peer
	rounds   int
	span     time.Duration // of one measurement
	idle     int           // sessions of mode idle, and
	rest     time.Duration // how long they are left alone
	bulkSize int           // octets of the bulk message
	dir      string        // a folder on a real disk
	binary   string        // Postern's
	seed     uint64        // of the order
	progress io.Writer
}

// bench runs a plan.
type bench struct {
	plan
	drops       map[string]*maildrop
	certificate certificate
	results     *results
}

// newBench prepares what all measurements share, in a new folder, which close removes.
func newBench(p plan) (*bench, error) {
	err := os.MkdirAll(p.dir, 0o755)
	if err != nil {
		return nil, err
	}
	if p.dir, err = filepath.Abs(p.dir); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp(p.dir, "run-"); err != nil {
		return nil, err
	}
	b := &bench{plan: p, drops: newMaildrops(p.bulkSize), results: newResults(p)}
	if err := os.Chmod(p.dir, 0o755); err != nil { // workers may run as another user
		return nil, errors.Join(err, b.close())
	}
	if b.certificate, err = newCertificate(p.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("make certificate: %w", err), b.close())
	}
	return b, nil
}

func (b *bench) close() error { return os.RemoveAll(b.dir) }

// run measures every mode with every peer in each round. Within a mode peers come one after the other, in an order of
// chance, so that what changes on the machine meets all of them. A peer that cannot do a mode is left out of it from
// then on, and the report says why.
func (b *bench) run(ctx context.Context) error {
	order := rand.New(rand.NewPCG(b.seed, 0))
	for round := range b.rounds {
		for _, m := range b.modes {
			var due []peer
			for _, i := range order.Perm(len(b.peers)) {
				if p := b.peers[i]; (p.name != direct || m.added) && !b.results.isOut(m, p) {
					due = append(due, p)
				}
			}
			fmt.Fprintf(b.progress, "round %d of %d, %s\n", round+1, b.rounds, m.name)
			b.runMode(ctx, m, due, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// runMode measures peers one after the other, or together where the mode allows it.
func (b *bench) runMode(ctx context.Context, m mode, due []peer, round int) {
	if !m.together {
		for _, p := range due {
			s, err := b.measure(ctx, m, p, nil)
			if ctx.Err() != nil {
				return
			}
			b.note(m, p, round, s, err)
		}
		return
	}
	samples, errs := make([]sample, len(due)), make([]error, len(due))
	place := newRendezvous(len(due))
	var running sync.WaitGroup
	for i, p := range due {
		running.Go(func() {
			defer place.leave()
			samples[i], errs[i] = b.measure(ctx, m, p, place.meet)
		})
	}
	running.Wait()
	for i, p := range due {
		b.note(m, p, round, samples[i], errs[i])
	}
}

// note keeps a measurement and says so.
func (b *bench) note(m mode, p peer, round int, s sample, err error) {
	if err != nil {
		b.results.leaveOut(m, p, err)
		fmt.Fprintf(b.progress, "  %-16s  left out: %v\n", p.name, err)
		return
	}
	b.results.add(m, p, round, s)
	fmt.Fprintf(b.progress, "  %-16s  %.*f %s\n", p.name, m.main.digits, m.main.of(s), m.main.heading)
}

// measure starts a peer afresh in front of a fresh backend, lets the mode's load on it, and ends both.
func (b *bench) measure(ctx context.Context, m mode, p peer, meet func()) (s sample, err error) {
	behind, err := newBackend(b.drops)
	if err != nil {
		return s, err
	}
	defer behind.close()
	t := &trial{target: target{addr: loopback(behind.port())}, drops: b.drops, span: b.span, idle: b.idle, rest: b.rest, meet: meet}
	if p.name != direct {
		stop, err := b.startPeer(ctx, p, behind, t)
		if err != nil {
			return s, err
		}
		defer stop()
	}
	runtime.GC() // ours, not during the measurement
	return m.run(t)
}

// startPeer starts p in front of behind and makes it t's target.
func (b *bench) startPeer(ctx context.Context, p peer, behind *backend, t *trial) (stop func(), err error) {
	judge, err := newJudge(behind.port())
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, errors.Join(err, judge.Close())
	}
	at := place{port: ports[0], spare1: ports[1], spare2: ports[2], backend: behind.port(), judge: judge.port, workers: runtime.NumCPU(),
		cert: b.certificate.cert, key: b.certificate.key, pem: b.certificate.pem, binary: b.binary}
	process, err := b.startProcess(p, at)
	if err != nil {
		return nil, errors.Join(err, judge.Close())
	}
	stop = func() {
		process.stop()
		judge.Close()
		os.RemoveAll(process.cmd.Dir)
	}
	t.target, t.meter = target{addr: loopback(at.port), tls: clientTLS(b.certificate.der)}, meter(process.cmd.Process.Pid)
	if err := process.ready(ctx, t.target); err != nil {
		stop()
		return nil, fmt.Errorf("start: %w", err)
	}
	return stop, nil
}

func (b *bench) startProcess(p peer, at place) (*process, error) {
	var err error
	if at.dir, err = os.MkdirTemp(b.dir, p.name+"-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(at.dir, 0o755); err != nil {
		return nil, err
	}
	args, err := p.command(at)
	if err != nil {
		return nil, err
	}
	if p.program != "" {
		path, err := p.find()
		if err != nil {
			return nil, err
		}
		args = append([]string{path}, args...)
	}
	return start(at.dir, args)
}

// judge answers nginx's question where a user's mailbox is: always at the backend.
type judge struct {
	*http.Server
	port int
}

func newJudge(backend int) (*judge, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	j := &judge{port: l.Addr().(*net.TCPAddr).Port}
	j.Server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", "127.0.0.1")
		w.Header().Set("Auth-Port", strconv.Itoa(backend))
	})}
	go j.Serve(l) // until Close
	return j, nil
}
