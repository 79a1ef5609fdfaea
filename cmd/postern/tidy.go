package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	tidyEvery  = 10 * time.Second
	tidyBelow  = 100       // commands since the last look: the relay rests
	tidyOctets = 512 << 10 // that are spare, and
	tidyShare  = 8         // one part in so many of what is in use: less is not worth a collection
)

// tidy gives memory back to the system when the relay has come to rest: the collector keeps as much again as is in use
// for what may come, and sessions that wait need none of it. It runs until ctx ends.
func (d *daemon) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for last := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		commands := d.relay.Stats().Commands
		if commands-last < tidyBelow && spares() {
			runtime.GC() // pools give up with the second collection what they hold
			debug.FreeOSMemory()
		}
		last = commands
	}
}

// spares reports whether what is spare is worth a collection.
func spares() bool {
	free, live := spare()
	return free > max(tidyOctets, live/tidyShare)
}

// spare returns how many octets the collector holds that are not in use, or will not be once it has looked, and how many are.
func spare() (free, live uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	free, live = sample[0].Value.Uint64(), sample[2].Value.Uint64()
	if objects := sample[1].Value.Uint64(); objects > live {
		free += objects - live
	}
	return free, live
}
