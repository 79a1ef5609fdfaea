package main

import (
	"os"
	"strings"
	"testing"
)

// The kernel may be late with the timers of this process, which is postern's, from its first thread on.
func TestTimerSlack(t *testing.T) {
	slack, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(slack)); got != "1000000" {
		t.Errorf("timer slack is %s ns", got)
	}
}
