package main

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// crew is a Crew seen from where it was started.
type crew struct {
	*rpc.Client
	cmd *exec.Cmd
	meter
}

// startCrew starts this program as a crew with its Postern.
func startCrew(ctx context.Context, binary, dir string, sessions int) (c *crew, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c = &crew{cmd: exec.CommandContext(ctx, self, crewCommand, "-postern", binary, "-dir", dir, "-sessions", fmt.Sprint(sessions))}
	c.cmd.Stderr = os.Stderr
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) } // it has a Postern to stop
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.Client = rpc.NewClient(pipe{out, in})
	var pid int
	if err := c.Call("Crew.PID", struct{}{}, &pid); err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.meter = meter(pid)
	return c, nil
}

// close lets the crew end.
func (c *crew) close() error {
	c.Client.Close() // it has ended already, if this fails
	return c.cmd.Wait()
}

// crews are all that carry one crowd.
type crews []*crew

// sessionsWithin is how many sessions a process can have that may open so many files.
func sessionsWithin(files int) int {
	const others = 500 // Postern keeps some for its log and all else
	return max(1, (files-others)/2)
}

// startCrews starts as many as are needed for so many sessions, of which one crew takes as many as files allow.
func startCrews(ctx context.Context, binary, dir string, sessions, files int) (all crews, err error) {
	n := 1 + (sessions-1)/sessionsWithin(files)
	for range n {
		c, err := startCrew(ctx, binary, dir, (sessions+n-1)/n)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start crew: %w", err), all.close())
		}
		all = append(all, c)
	}
	return all, nil
}

// end closes all when a measurement is over, and adds to its error.
func (all crews) end(err *error) { *err = errors.Join(*err, all.close()) }

func (all crews) close() error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// each asks all at once, the i-th about its share of a number.
func (all crews) each(number int, ask func(i, share int) error) error {
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i := range all {
		running.Go(func() { errs[i] = ask(i, (number+i)/len(all)) })
	}
	running.Wait()
	return first(errs)
}

// do has all do something that needs no words.
func (all crews) do(what string) error {
	return all.each(0, func(i, _ int) error { return all[i].Call("Crew."+what, struct{}{}, new(struct{})) })
}

func (all crews) login(n int) error {
	return all.each(n, func(i, share int) error { return all[i].Call("Crew.Login", share, new(struct{})) })
}

// kept returns how many commands are on record, which are all that were said.
func (all crews) kept() (commands int64, err error) {
	parts := make([]int64, len(all))
	err = all.each(0, func(i, _ int) error { return all[i].Call("Crew.Kept", struct{}{}, &parts[i]) })
	for _, n := range parts {
		commands += n
	}
	return commands, err
}

// pace lets the first sessions of all speak, so often each.
func (all crews) pace(sessions int, perSecond float64, span time.Duration) (sample, error) {
	before, err := all.cpu()
	if err != nil {
		return sample{}, err
	}
	began, parts := time.Now(), make([]Paced, len(all))
	err = all.each(sessions, func(i, share int) error {
		return all[i].Call("Crew.Pace", Pace{share, perSecond, span}, &parts[i])
	})
	if err != nil {
		return sample{}, err
	}
	tallies := make([]tally, len(all))
	for i, p := range parts {
		tallies[i] = tally{work: p.Work, times: p.Times}
	}
	return sumOf(tallies, time.Since(began), before, all.cpu)
}

// memory is what all Posterns take.
func (all crews) memory() (total int64, err error) {
	for _, c := range all {
		n, err := c.meter.memory()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// cpu is what all Posterns have computed.
func (all crews) cpu() (total time.Duration, err error) {
	for _, c := range all {
		d, err := c.meter.cpu()
		if err != nil {
			return 0, err
		}
		total += d
	}
	return total, nil
}
