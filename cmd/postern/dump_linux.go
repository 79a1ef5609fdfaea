package main

import (
	"fmt"
	"syscall"
)

// disableCoreDumps keeps passwords that pass through memory from being written to disk by a crash, and
// other processes of the same user from reading that memory.
func disableCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set RLIMIT_CORE: %w", err)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("set PR_SET_DUMPABLE: %w", errno)
	}
	return nil
}
