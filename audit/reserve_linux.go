package audit

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// allocate takes size octets of the disk for f.
func allocate(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS):
			return writeNoise(f, size)
		default:
			return err
		}
	}
}

// isWhole tells whether a file has size octets on disk.
func isWhole(info fs.FileInfo, size int64) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && info.Size() == size && st.Blocks*512 >= size
}
