package audit

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
)

// defaultReserve is enough for the ends of some 10,000 sessions.
const defaultReserve = 8 << 20

// reserve is a file that takes up room beside the database. When the disk is full it is given away, so that what ends
// the sessions, and why, can still be recorded.
type reserve struct {
	path string
	size int64 // 0 or less: there is to be none
	held bool
}

// octets returns how much is held.
func (r *reserve) octets() int64 {
	if !r.held || r.size < 0 {
		return 0
	}
	return r.size
}

// keep makes the file if it is not there, and half of what is free is enough. It reports whether all that is to be
// reserved is.
func (r *reserve) keep(free int64) bool {
	if r.held || r.size <= 0 {
		return true
	}
	if info, err := os.Lstat(r.path); err == nil && isWhole(info, r.size) {
		r.held = true // by the run before
		return true
	}
	r.held = free/2 >= r.size && r.make() == nil
	return r.held
}

// make fills the file: where the disk has room for it, nobody else has it afterwards.
func (r *reserve) make() error {
	if err := r.remove(); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, r.size)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, r.remove())
	}
	return nil
}

// release gives the room away and reports whether there was any.
func (r *reserve) release() bool {
	if !r.held {
		return false
	}
	r.held = false
	return r.remove() == nil
}

func (r *reserve) remove() error {
	err := os.Remove(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeNoise writes octets that no file system makes smaller.
func writeNoise(f *os.File, size int64) error {
	var seed [32]byte
	noise := rand.NewChaCha8(seed)
	piece := make([]byte, 64<<10)
	for size > 0 {
		noise.Read(piece)
		n, err := f.Write(piece[:min(size, int64(len(piece)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return f.Sync()
}
