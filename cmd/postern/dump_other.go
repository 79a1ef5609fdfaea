//go:build !linux

package main

import (
	"fmt"
	"syscall"
)

// disableCoreDumps keeps passwords that pass through memory from being written to disk by a crash.
func disableCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set RLIMIT_CORE: %w", err)
	}
	return nil
}
