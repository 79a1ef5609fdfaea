package peers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// jail is a root directory of one server alone: the Debian packages that .ci/peers unpacked, copied, and the
// accounts, configuration and mail of one test. Servers that cannot be installed beside Dovecot, and that insist
// on being root and on files such as /etc/passwd, run in it as they would on a machine of their own; the real one
// is not touched. Who is not root becomes it inside by a user namespace.
type jail struct {
	root string   // its path outside
	log  *jailLog // what the programs print and say to syslog, shown when the test fails
}

// newJail copies what .ci/peers unpacked under name, and ends what is left in it with the test.
func newJail(t testing.TB, name string) *jail {
	t.Helper()
	cache, err := peersDir()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(cache, name)
	if _, err := os.Stat(filepath.Join(source, "packages")); err != nil {
		t.Fatalf("%s is not unpacked in %s: run .ci/peers", name, cache)
	}
	j := &jail{root: serverDir(t, name), log: &jailLog{}}
	j.must(t, exec.Command("cp", "-a", source+"/.", j.root))
	t.Cleanup(func() { j.must(t, j.outside("chown", "-R", "0:0", j.root)) }) // for os.RemoveAll
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, j.log)
		}
	})
	for _, dir := range []string{"dev", "tmp", "etc", "home", "run", "var/mail"} {
		if err := os.MkdirAll(filepath.Join(j.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	j.write(t, "dev/null", "") // an ordinary file: devices are for the real root
	j.syslog(t)
	return j
}

// peersDir is where .ci/peers unpacks servers.
func peersDir() (string, error) {
	if dir := os.Getenv("POSTERN_PEERS"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "postern-peers"), err
}

// path is where the jail's file is outside.
func (j *jail) path(name string) string { return filepath.Join(j.root, name) }

// write puts a file into the jail.
func (j *jail) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(j.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// open lets everybody inside read what was written, whatever this process's umask is, as on any machine.
func (j *jail) open(t testing.TB) {
	t.Helper()
	j.must(t, exec.Command("chmod", "-R", "u=rwX,go=rX", j.root))
}

// own gives files of the jail to owner, a user:group by number, and closes them to others as servers demand.
func (j *jail) own(t testing.TB, owner string, names ...string) {
	t.Helper()
	for _, name := range names {
		j.must(t, j.outside("chmod", "-R", "u=rwX,go=", j.path(name)))
		j.must(t, j.outside("chown", "-R", owner, j.path(name)))
	}
}

// command prepares a program that runs as root of the jail, in a process group of its own: Cyrus signals its group.
func (j *jail) command(args ...string) *exec.Cmd {
	root := ""
	if os.Getuid() != 0 {
		root = j.root
		args = append([]string{"unshare", "--user", "--map-root-user", "--map-auto", "--root=" + root, "--"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if root == "" {
		cmd.Dir, cmd.SysProcAttr.Chroot = "/", j.root
	}
	return cmd
}

// outside prepares a program of the machine that sees the jail's users.
func (j *jail) outside(args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		args = append([]string{"unshare", "--user", "--map-root-user", "--map-auto", "--"}, args...)
	}
	return exec.Command(args[0], args[1:]...)
}

// must runs cmd to its end.
func (j *jail) must(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v: %s", cmd.Args, err, tail(out))
	}
}

// daemon runs a program of the jail until the test ends, with all its children, and returns when addr greets.
func (j *jail) daemon(t testing.TB, addr string, args ...string) {
	t.Helper()
	cmd := j.command(args...)
	t.Cleanup(func() {
		if cmd.Process != nil {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the daemon itself did not end
		}
	})
	run(t, cmd, addr, "")
}

// syslog is the jail's /dev/log, until the test ends.
func (j *jail) syslog(t testing.TB) {
	t.Helper()
	path := j.path("dev/log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		line := make([]byte, 4<<10)
		for {
			n, err := conn.Read(line)
			if err != nil {
				return // closed
			}
			j.log.Write(append(line[:n:n], '\n'))
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
}

// jailLog keeps the end of what is written to it.
type jailLog struct {
	mu sync.Mutex
	b  []byte
}

func (l *jailLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = tail(append(l.b, p...))
	return len(p), nil
}

func (l *jailLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
