package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/proxy"
)

func TestReserveIsKept(t *testing.T) {
	dir := t.TempDir()
	r := reserve{path: filepath.Join(dir, "reserve"), size: 1 << 20}
	if r.keep(1 << 20) {
		t.Error("the last of the disk was reserved")
	}
	if err := os.WriteFile(r.path, []byte("cut short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !r.keep(2<<20) || r.octets() != 1<<20 {
		t.Error("nothing is reserved")
	}
	info, err := os.Stat(r.path)
	if err != nil || info.Size() != 1<<20 || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Blocks*512 < 1<<20 {
		t.Errorf("the reserve is %+v, %v", info, err)
	}
	next := reserve{path: r.path, size: r.size}
	if !next.keep(0) {
		t.Error("the next run does not take up the reserve")
	}
	if !next.release() || next.release() || next.octets() != 0 {
		t.Error("the reserve can be given away other than once")
	}
	if _, err := os.Stat(r.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a reserve that was given away: %v", err)
	}
	none := reserve{path: r.path, size: -1}
	if !none.keep(0) || none.release() || none.octets() != 0 {
		t.Error("where there is to be no reserve, there is one")
	}
}

// A real file system fills: sessions that run are ended with their records, nobody is let in, and when there is space
// again the log is well within 5 s.
func TestFullFileSystem(t *testing.T) {
	playMounting(t, "small-disk", filepath.Join(t.TempDir(), "audit.db"))
}

// playMounting plays a scene that mounts file systems, in a namespace of its own.
func playMounting(t *testing.T, scene, path string) {
	t.Helper()
	cmd := child(t, scene, path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.Output()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if errors.Is(err, syscall.EPERM) || ended && exit.ExitCode() == cannotMount {
		t.Skip("this system lets nobody mount a file system of his own")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
}

// cannotMount is how a scene ends that may not mount.
const cannotMount = 3

// smallDiskScene fills a file system of its own of 8 MiB.
func smallDiskScene(path string) error {
	dir := filepath.Dir(path)
	if syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") != nil ||
		syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700") != nil {
		os.Exit(cannotMount)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		return err
	}
	l, err := Open(context.Background(), Options{Path: path, Reserve: 1 << 20, look: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := await(l, func(h Health) bool { return h.Space.Reserve == 1<<20 }); err != nil {
		return err
	}
	running := make([]proxy.SessionID, 50)
	for i := range running {
		running[i] = newID()
		if err := l.Record(connect(running[i])).Wait(); err != nil {
			return err
		}
	}
	if err := fill(l, command(newID(), "NOOP", strings.Repeat("x", 4000), "+OK"), Refuse); err != nil {
		return err
	}
	if err := endAll(l, running); err != nil {
		return err
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	since := time.Now()
	if err := well(l); err != nil {
		return err
	}
	took := time.Since(since)
	fmt.Printf("well %v after there was space\n", took.Round(time.Millisecond))
	if err := l.Record(connect(newID())).Wait(); err != nil || took > 5*time.Second {
		return fmt.Errorf("%v after there was space: %w", took, err)
	}
	if h := l.Health(); h.Space.Reserve != 1<<20 {
		return fmt.Errorf("the reserve is not there again: %+v", h)
	}
	return errors.Join(l.Close(), tellsOfFullDisk(path))
}

// endAll ends sessions while the disk is full, and sees it on record.
func endAll(l *Log, running []proxy.SessionID) error {
	for _, id := range running {
		if err := l.Record(end(id)).Wait(); !errors.Is(err, proxy.ErrNotRecorded) {
			return fmt.Errorf("an end on a full disk: %w", err)
		}
	}
	for _, id := range running {
		err := await(l, func(h Health) bool {
			s, err := l.Reader().Session(context.Background(), id)
			return h.OK || err == nil && s.State == StateEnded && s.EndReason == "quit" && !s.Partial
		})
		if err != nil {
			return fmt.Errorf("session %s is not ended on a full disk: %w", id, err)
		}
	}
	h := l.Health()
	if err := l.Ready(); h.OK || h.Space.Reserve != 0 || !errors.Is(err, proxy.ErrNotRecorded) {
		return fmt.Errorf("a full disk lets sessions in: %+v, %w", h, err)
	}
	return nil
}

func tellsOfFullDisk(path string) error {
	r, err := OpenReader(path)
	if err != nil {
		return err
	}
	defer r.Close()
	recs, err := r.Records(context.Background(), 0, maxRecords, Filter{})
	if err != nil {
		return err
	}
	var kinds strings.Builder
	for i, rec := range recs {
		if rec.Seq != int64(i+1) {
			return fmt.Errorf("record %d has number %d", i+1, rec.Seq)
		}
		if rec.Kind != proxy.KindConnect && rec.Kind != proxy.KindCommand {
			fmt.Fprintf(&kinds, " %s", strings.TrimSpace(strings.ReplaceAll(rec.Detail, " ", "_")))
		}
	}
	told := kinds.String()
	failing, quit, recovered := strings.Index(told, LogFailing), strings.Index(told, " quit"), strings.Index(told, LogRecovered)
	if failing < 0 || quit < failing || recovered < quit || !strings.Contains(told, SpaceLow) || strings.Count(told, " quit") != 50 {
		return fmt.Errorf("the log tells%s", told)
	}
	return nil
}
