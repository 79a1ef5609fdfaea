package main

import (
	"runtime/debug"
	"testing"
)

var waste []byte

// What is garbage is spare before the collector has looked.
func TestSpare(t *testing.T) {
	debug.FreeOSMemory() // what is wasted must be new, not what is spare already
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	before, _ := spare()
	for range 64 {
		waste = make([]byte, 1<<20)
	}
	if after, _ := spare(); after < before+32<<20 {
		t.Errorf("%d octets are spare, after 64 MiB were wasted %d", before, after)
	}
	debug.FreeOSMemory()
	if after, _ := spare(); after > before+32<<20 {
		t.Errorf("%d octets are spare still", after)
	}
}
