package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"path/filepath"
	"time"

	"postern/audit"
)

// crewCommand is the first argument by which this program is a crew: a backend, a Postern in front of it, and clients.
// A session takes two descriptors of both, and no process has more than its limit, so a crowd may need several crews.
// Whoever starts a crew tells it what to do by its standard input and output.
const crewCommand = "crew"

// Crew is what can be asked of one; net/rpc wants it so. One call at a time.
type Crew struct {
	trial   *trial
	pid     int    // of Postern
	log     string // its audit log
	clients []*client
	said    int64 // commands of sessions so far
}

// Pace is a load of paced commands: so many sessions, from the first that logged in.
type Pace struct {
	Sessions  int
	PerSecond float64 // commands of each
	Span      time.Duration
}

// Paced is what came of it.
type Paced struct {
	Work  int64
	Times []time.Duration
}

// PID tells Postern's process.
func (c *Crew) PID(_ struct{}, pid *int) error {
	*pid = c.pid
	return nil
}

// Warm has Postern do everything once.
func (c *Crew) Warm(_ struct{}, _ *struct{}) error {
	clients, err := c.trial.logins(2, small)
	if err != nil {
		return err
	}
	c.said += 3 * 2
	return quitAll(clients)
}

// Login opens more sessions.
func (c *Crew) Login(n int, _ *struct{}) error {
	clients, err := c.trial.loginsAfter(len(c.clients), n, small)
	c.clients = append(c.clients, clients...)
	c.said += 2 * int64(len(clients))
	return err
}

// Pace lets sessions speak.
func (c *Crew) Pace(p Pace, done *Paced) error {
	var errs []error
	for _, t := range paceAll(c.clients[:p.Sessions], c.trial.drops[small], p.PerSecond, p.Span) {
		done.Work += t.work
		done.Times = append(done.Times, t.times...)
		errs = append(errs, t.err)
	}
	c.said += done.Work
	return first(errs)
}

// Check has every session answer, and ends it.
func (c *Crew) Check(_ struct{}, _ *struct{}) error {
	for _, client := range c.clients {
		if err := client.exchange(exchange{[]byte("STAT\r\n"), c.trial.drops[small].stat}); err != nil {
			return err
		}
	}
	c.said += 2 * int64(len(c.clients))
	err := quitAll(c.clients)
	c.clients = nil
	return err
}

// Kept compares what was said with what is on record, once all sessions have ended.
func (c *Crew) Kept(_ struct{}, commands *int64) error {
	r, err := audit.OpenReader(c.log)
	if err != nil {
		return err
	}
	defer r.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		snapshot, err := r.Snapshot(context.Background(), time.Time{})
		if err != nil {
			return err
		}
		if *commands = snapshot.Totals.Commands; snapshot.LiveCount == 0 && *commands == c.said {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d commands were said, %d are on record; %d sessions have no end", c.said, *commands, snapshot.LiveCount)
		}
	}
}

// serveCrew is a crew until its standard input ends.
func serveCrew(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet(crewCommand, flag.ContinueOnError)
	p := plan{rounds: 1, bulkSize: 1 << 10, progress: io.Discard}
	flags.StringVar(&p.binary, "postern", "", "path of the program")
	flags.StringVar(&p.dir, "dir", "", "folder on a real disk")
	sessions := flags.Int("sessions", 0, "the most that there will be")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := newBench(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	behind, err := newBackend(b.drops)
	if err != nil {
		return err
	}
	defer behind.close()
	defer context.AfterFunc(ctx, behind.close)()       // which ends every session
	c := &Crew{trial: &trial{drops: b.drops}, said: 1} // whether Postern is ready is asked by a session that says QUIT
	one := peer{name: "postern", command: postern("strict", "--max-sessions", fmt.Sprint(*sessions))}
	stop, err := b.startPeer(ctx, one, behind, c.trial)
	if err != nil {
		return err
	}
	defer stop()
	defer func() { closeAll(c.clients) }()
	c.pid = int(c.trial.meter)
	found, err := filepath.Glob(filepath.Join(b.dir, "postern-*", "data", "audit.db"))
	if err != nil || len(found) != 1 {
		return errors.Join(fmt.Errorf("where its log should be there is %q", found), err)
	}
	c.log = found[0]
	return c.serve()
}

func (c *Crew) serve() error {
	server := rpc.NewServer()
	if err := server.Register(c); err != nil {
		return err
	}
	server.ServeConn(pipe{os.Stdin, os.Stdout})
	return nil
}

// pipe makes one of a pair of files.
type pipe struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipe) Close() error { return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close()) }
