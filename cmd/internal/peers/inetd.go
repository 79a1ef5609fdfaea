package peers

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// maxInetd bounds the programs that an inetd runs at a time; further connections wait.
const maxInetd = 50

// inetd runs a program of a jail for every connection, which is the program's standard input and output, as
// inetd, tcpserver and couriertcpd do.
type inetd struct {
	jail     *jail
	listener *net.TCPListener
	env, run []string
	running  chan struct{} // one element per program
}

// inetd serves a free port of loopback until the test ends, and returns its host:port.
func (j *jail) inetd(t testing.TB, env []string, args ...string) (addr string) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	d := &inetd{j, listener, env, args, make(chan struct{}, maxInetd)}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { d.serve(ctx) })
	t.Cleanup(func() {
		cancel()
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// serve accepts until the listener is closed, and returns when all programs have ended.
func (d *inetd) serve(ctx context.Context) {
	var programs sync.WaitGroup
	defer programs.Wait()
	for {
		conn, err := d.listener.AcceptTCP()
		if err != nil {
			return
		}
		select {
		case d.running <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return
		}
		programs.Go(func() {
			if err := d.answer(ctx, conn); err != nil {
				d.jail.log.Write([]byte(err.Error() + "\n"))
			}
			<-d.running
		})
	}
}

// answer runs the program on conn, which it owns from then on.
func (d *inetd) answer(ctx context.Context, conn *net.TCPConn) error {
	file, err := conn.File()
	conn.Close()
	if err != nil {
		return err
	}
	cmd := d.command(ctx, file)
	err = cmd.Start()
	file.Close() // the program alone ends the connection
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil && !isExit(err) {
		return err
	}
	return nil
}

func (d *inetd) command(ctx context.Context, conn *os.File) *exec.Cmd {
	plain := d.jail.command(d.run...)
	cmd := exec.CommandContext(ctx, plain.Path, plain.Args[1:]...)
	cmd.Dir, cmd.SysProcAttr = plain.Dir, plain.SysProcAttr
	cmd.Env = append(plain.Env, d.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = conn, conn, d.jail.log
	cmd.Cancel = func() error {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with its children
		return os.ErrProcessDone
	}
	cmd.WaitDelay = time.Second
	return cmd
}

// isExit tells whether a program merely ended with another status than 0, as after a failed login.
func isExit(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok
}
