package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// meter reads what a tree of processes takes: the one whose number it is, all that descend from it, and those of its
// session. 0 is no process, which takes nothing.
type meter int

// tick is the unit of times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// status is what /proc/PID/stat tells of a process. Times are user and system together.
type status struct {
	pid, parent, session int
	own                  time.Duration // of its threads, of those too that have ended
	reaped               time.Duration // of the children that it has waited for, and of theirs
}

// cpu is the computing time of the tree so far.
func (m meter) cpu() (total time.Duration, err error) {
	tree, err := m.tree()
	for _, p := range tree {
		total += p.reaped + max(p.own, clockOf(p.pid))
	}
	return total, err
}

// clockOf reads a process's own clock, which counts in nanoseconds where /proc tells ticks: an nginx that stalls takes
// less than one of those. It is 0 when the process has ended.
func clockOf(pid int) time.Duration {
	const scheduled = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(^pid<<3|scheduled), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0
	}
	return time.Duration(t.Nano())
}

// memory is the tree's proportional set size: pages that several processes share count once.
func (m meter) memory() (total int64, err error) {
	tree, err := m.tree()
	for _, p := range tree {
		size, err := pss(p.pid)
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, err
}

// tree returns the processes of the tree that there are now.
func (m meter) tree() (tree []status, err error) {
	if m == 0 {
		return nil, nil
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	in := map[int]bool{int(m): true}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if !in[p.pid] && (in[p.parent] || p.session == int(m)) {
				in[p.pid], grew = true, true
			}
		}
	}
	for _, p := range all {
		if in[p.pid] {
			tree = append(tree, p)
		}
	}
	if len(tree) == 0 {
		return nil, errors.New("the peer has ended")
	}
	return tree, nil
}

func processes() (all []status, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		p, err := parseStat(string(stat))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// parseStat reads a line as proc_pid_stat(5) describes it. The program's name stands in parentheses and may hold
// anything.
func parseStat(line string) (p status, err error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("no process status: %q", line)
	}
	fields := strings.Fields(line[end+1:]) // from the third field on
	numbers := make([]int, 15)
	for i := range numbers {
		if i == 0 {
			continue // the state, a letter
		}
		if i >= len(fields) {
			return p, fmt.Errorf("no process status: %q", line)
		}
		if numbers[i], err = strconv.Atoi(fields[i]); err != nil {
			return p, fmt.Errorf("process status: %w", err)
		}
	}
	p.pid, err = strconv.Atoi(strings.TrimSpace(line[:open]))
	p.parent, p.session = numbers[1], numbers[3]
	p.own = time.Duration(numbers[11]+numbers[12]) * tick
	p.reaped = time.Duration(numbers[13]+numbers[14]) * tick
	return p, err
}

// pss reads the proportional set size of a process, which only root may for one that hides its memory, as Postern
// does.
func pss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return 0, nil // it has ended
	case errors.Is(err, fs.ErrPermission):
		return 0, fmt.Errorf("its memory can be measured by root only: %w", fs.ErrPermission)
	case err != nil:
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if size, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(size), []byte("kB")))), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no Pss in smaps_rollup of process %d", pid)
}
