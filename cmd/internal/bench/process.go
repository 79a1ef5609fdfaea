package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a peer that runs, and all that descend from it.
type process struct {
	cmd   *exec.Cmd
	log   string        // what it printed
	ended chan struct{} // closed when it has
}

// stopTime is how long a peer may take to end before it is killed.
const stopTime = 10 * time.Second

// start runs args in dir as the leader of a session, by which all its processes are known.
func start(dir string, args []string) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), log: filepath.Join(dir, "output"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.reap()
	return p, nil
}

func (p *process) reap() {
	p.cmd.Wait() // how it ended is in its output
	close(p.ended)
}

// stop asks the peer to end, makes it when it does not, and ends what it left behind.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		p.cmd.Process.Kill()
		<-p.ended
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}

// ready returns when the target greets, or says why it never will.
func (p *process) ready(ctx context.Context, t target) error {
	for deadline := time.Now().Add(patience); ; {
		c, err := t.dial(nil)
		if err == nil {
			return c.quit()
		}
		if errors.Is(err, errCipher) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("it ended: %s", p.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastWords are the end of what the peer printed, on one line.
func (p *process) lastWords() string {
	const most = 400
	text, _ := os.ReadFile(p.log)
	text = bytes.TrimSpace(text)
	return string(bytes.ReplaceAll(text[max(0, len(text)-most):], []byte{'\n'}, []byte("; ")))
}

// freePorts returns ports of 127.0.0.1 that nobody listened on a moment ago.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // once all are found, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
