package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/proxy"
)

// Some scenes end badly, or break the process they are in. They are played in a child: this test
// binary, started with sceneEnv.
const (
	sceneEnv = "POSTERN_AUDIT_SCENE"
	pathEnv  = "POSTERN_AUDIT_PATH"
)

func play(scene string) int {
	scenes := map[string]func(path string) error{
		"load":           loadScene,
		"retain":         retainScene,
		"ack":            ackScene,
		"fault":          faultScene,
		"hold":           holdScene,
		"rotate-twice":   rotateTwiceScene,
		"power":          powerScene,
		"small-disk":     smallDiskScene,
		"read-only":      readOnlyScene,
		"full-refuse":    func(path string) error { return fullScene(path, Refuse) },
		"full-continue":  func(path string) error { return fullScene(path, Continue) },
		"full-migration": fullMigrationScene,
		"full-backup":    fullBackupScene,
	}
	if err := scenes[scene](os.Getenv(pathEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child prepares a scene as a process, which ends with the test at the latest.
func child(t *testing.T, scene, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), sceneEnv+"="+scene, pathEnv+"="+path)
	cmd.Stderr = t.Output()
	return cmd
}

// loadScene records until it is killed. It says on stdout what was promised.
func loadScene(path string) error {
	l, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			id := proxy.NewSessionID(time.Now())
			l.Record(connect(id))
			for n := int64(1); ; n++ {
				ev := command(id, "NOOP", "", "+OK")
				ev.Message = n
				if l.Record(ev).Wait() == nil {
					fmt.Printf("%s %d\n", id, n)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func TestKillLosesNothingPromised(t *testing.T) {
	var path string
	for round := range 50 {
		if round%5 == 0 { // or there are more records than one answer has
			path = t.TempDir() + "/audit.db"
		}
		promised := killUnderLoad(t, path)
		records(t, path) // can be read before it is recovered
		l := openLog(t, Options{Path: path})
		for id, n := range promised {
			s, err := l.Reader().Session(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if s.Commands < n || s.State != StateEnded || s.EndReason != Aborted || s.Partial {
				t.Errorf("%d commands were promised, the log has %+v", n, s)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		records(t, path) // without holes
		if got := ask(t, path, "PRAGMA integrity_check"); got != "ok" {
			t.Errorf("integrity check: %s", got)
		}
	}
}

// killUnderLoad returns, for each session, how many commands were promised to be on disk.
func killUnderLoad(t *testing.T, path string) map[proxy.SessionID]int64 {
	t.Helper()
	cmd := child(t, "load", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	promised := map[proxy.SessionID]int64{}
	lines := bufio.NewScanner(out)
	last := rand.IntN(300)
	for count := 0; lines.Scan(); count++ {
		if count == last {
			cmd.Process.Kill()
		}
		name, number, _ := strings.Cut(lines.Text(), " ")
		id, err := proxy.ParseSessionID(name)
		if err != nil {
			continue // the line that the kill cut
		}
		var n int64
		fmt.Sscan(number, &n)
		promised[id] = max(promised[id], n)
	}
	cmd.Wait()
	if len(promised) == 0 {
		t.Fatal("nothing was promised")
	}
	return promised
}

// fullScene runs into a real limit of the system: files of this process may not grow.
func fullScene(path string, on OnFailure) error {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(context.Background(), Options{Path: path, OnFailure: on})
	if err != nil {
		return err
	}
	defer l.Close()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	tight := limit
	tight.Cur = 256 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &tight); err != nil {
		return err
	}
	id := newID()
	ev := command(id, "NOOP", strings.Repeat("x", 4000), "+OK")
	if err := fill(l, ev, on); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := well(l); err != nil {
		return err
	}
	if err := l.Record(connect(newID())).Wait(); err != nil {
		return fmt.Errorf("after the disk is back: %w", err)
	}
	return l.Close()
}

// fill records until the log is broken, and checks how it says so.
func fill(l *Log, ev proxy.Event, on OnFailure) error {
	l.Record(connect(ev.Session))
	for range 5000 {
		err := l.Record(ev).Wait()
		h := l.Health()
		switch {
		case on == Continue && err != nil:
			return fmt.Errorf("a receipt fails although it should go on: %w", err)
		case on == Refuse && h.OK && err == nil, on == Continue && h.Lost == 0:
			continue
		case on == Refuse && !errors.Is(err, proxy.ErrNotRecorded):
			return fmt.Errorf("a receipt of a broken log says: %v", err)
		case h.OK || !strings.Contains(h.Err, "free space on"):
			return fmt.Errorf("health of a broken log: %+v", h)
		}
		return nil
	}
	return errors.New("the log never filled")
}

// well waits until the log is healed.
func well(l *Log) error { return await(l, func(h Health) bool { return h.OK }) }

// await waits for a state of the log's health.
func await(l *Log, is func(Health) bool) error {
	for range 2000 {
		if is(l.Health()) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("what was waited for did not come: %+v", l.Health())
}

func TestFullDisk(t *testing.T) {
	for _, scene := range []string{"full-refuse", "full-continue"} {
		t.Run(scene, func(t *testing.T) {
			path := t.TempDir() + "/audit.db"
			cmd := child(t, scene, path)
			cmd.Stdout = io.Discard
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			recs := records(t, path)
			if !strings.HasSuffix(story(recs), "NOOP state:failing gap gap state:recovered connect stop") {
				t.Errorf("the log ends with %s", story(recs[len(recs)-5:]))
			}
			gap := recs[len(recs)-5]
			if gap.Count < 1 || !strings.Contains(gap.Detail, "free space on") {
				t.Errorf("the gap says %+v", gap)
			}
		})
	}
}
