package audit

import (
	"fmt"
	"path/filepath"
	"time"
)

// Space tells how much room the log has left.
type Space struct {
	Used    float64 `json:"used_ratio"` // from 0 to 1, of what is there for users of the file system, or of Options.Room
	Free    int64   `json:"free"`       // octets
	Level   string  `json:"level"`      // SpaceOK, SpaceLow or SpaceCritical; "" before the first look
	Reserve int64   `json:"reserve"`    // octets that are kept for a full disk
}

// capacity is what a file system has, in octets. Used and free are not all of it: some is root's.
type capacity struct{ used, free int64 }

// within is the space of a log that has size octets and may have room, 0 for any number.
func (c capacity) within(room, size int64) Space {
	s := Space{Free: c.free}
	if all := c.used + c.free; all > 0 {
		s.Used = float64(c.used) / float64(all)
	}
	if room > 0 {
		s.Used = max(s.Used, float64(size)/float64(room))
		s.Free = max(0, min(s.Free, room-size))
	}
	return s
}

// The parts of the space of which is warned, and how much less must be used until it is not any more.
const (
	lowAt      = 0.75
	criticalAt = 0.90
	hysteresis = 0.02
)

// level returns the level of a space of which a part is used, when was is what it was before.
func level(was string, used float64) string {
	low, critical := lowAt, criticalAt
	if was != "" {
		low -= hysteresis
	}
	if was == SpaceCritical {
		critical -= hysteresis
	}
	switch {
	case used >= critical:
		return SpaceCritical
	case used >= low:
		return SpaceLow
	}
	return ""
}

func levelName(level string) string {
	if level == "" {
		return SpaceOK
	}
	return level
}

// tellSpace tells the operator that the level is another, and the log if it has changed: how a run finds the disk is
// nothing that happened.
func (w *writer) tellSpace(s Space, changed bool) {
	dir := filepath.Dir(w.log.opts.Path)
	used := fmt.Sprintf("%.1f %%", 100*s.Used)
	if changed {
		w.note(stateAt(time.Now(), s.Level, fmt.Sprintf("%s of the space of %s is used, %d MiB are free", used, dir, s.Free>>20)))
	}
	if s.Level == SpaceOK {
		w.log.log.Info("audit log has space again", "path", w.log.opts.Path, "used", used, "free", s.Free)
		return
	}
	w.log.log.Warn("audit log: space runs out; free some on this disk, or let retention keep less", "path", w.log.opts.Path,
		"used", used, "free", s.Free)
}
